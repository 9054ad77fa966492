#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compile interfaces/*.msg and *.srv once and pack them as one local wheel.

vision_msgs, tf2_msgs and composition_interfaces have no wheel on PyPI. This script generates
them against the ROS 2 wheels and writes ``nemo_ros_interfaces-*.whl``: shared libraries go to
the environment's ``lib/``, the Python modules to site-packages, so that nothing has to be
sourced. The wheel is kept in a cache under the hash of everything it is made from; a second
call with the same inputs only prints the path. Standard library only: it runs before anything
is installed.

    python scripts/build_interfaces.py            # prints the path of the wheel
    python scripts/build_interfaces.py --cache DIR --jobs 2
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTERFACES = ROOT / "interfaces"
REQUIREMENTS = ROOT / "scripts" / "interface_build_requirements.txt"
# Upstream's release in Jazzy whose fields these files hold (same fields, same type hash).
VERSIONS = {"vision_msgs": "4.1.1", "tf2_msgs": "0.36.4", "composition_interfaces": "2.0.2"}
WHEEL_VERSION = "1.0.0"
PRIMITIVES = {
    *("bool", "byte", "char", "float32", "float64", "string", "wstring"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}

PACKAGE_XML = """<?xml version="1.0"?>
<package format="3">
  <name>{name}</name>
  <version>{version}</version>
  <description>{name}, generated from the fields of its messages</description>
  <maintainer email="noreply@example.org">nemo_ros</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
{depends}
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""

CMAKELISTS = """cmake_minimum_required(VERSION 3.21)
project({name} LANGUAGES C CXX)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
{find}
rosidl_generate_interfaces(${{PROJECT_NAME}}
  {files}
  DEPENDENCIES {depends})
ament_package()
"""

# The wheels' exported targets name include folders of the machine that built them. CMake refuses
# an imported target whose include folder does not exist, so those that do not are taken out, after
# every find_package and before generation.
CMAKE_FIX = """
function(nemo_drop_missing_includes)
  get_property(_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(_target IN LISTS _targets)
    get_target_property(_dirs ${_target} INTERFACE_INCLUDE_DIRECTORIES)
    if(_dirs)
      list(FILTER _dirs EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${_target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_dirs}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL nemo_drop_missing_includes)
"""


def tag() -> str:
    """Wheel tag of the running interpreter, e.g. ``cp311-cp311-linux_x86_64``."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = re.sub(r"[^a-z0-9]+", "_", sysconfig.get_platform().lower())
    return f"{python}-{python}-{platform}"


def inputs_hash() -> str:
    """Hash of everything the wheel is made from: fields, recipe, build requirements, Python."""
    digest = hashlib.sha256(tag().encode())
    files = sorted(p for p in INTERFACES.rglob("*") if p.suffix in {".msg", ".srv"})
    for path in [*files, Path(__file__).resolve(), REQUIREMENTS]:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def dependencies(package: Path) -> list[str]:
    """Other interface packages that the fields of ``package`` name."""
    found = set()
    for path in package.rglob("*.*"):
        for line in path.read_text().splitlines():
            name, slash, _ = line.split()[0].partition("/")
            if slash and name not in PRIMITIVES and name != package.name:
                found.add(name)
    return sorted(found)


def run(command: list[str], env: dict[str, str], log: Path) -> None:
    """Run ``command``; on failure show the end of its log and stop."""
    with log.open("ab") as stream:
        stream.write(("$ " + " ".join(command) + "\n").encode())
        stream.flush()
        status = subprocess.call(command, env=env, stdout=stream, stderr=subprocess.STDOUT)
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
        raise SystemExit(f"{tail}\n\nmake setup: interfaces: '{command[0]}' failed (see above)")


def clean_environment() -> dict[str, str]:
    """The environment without what the ROS wheels' start-up and a shell may have left in it."""
    env = dict(os.environ)
    for name in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONPATH", "VIRTUAL_ENV"):
        env.pop(name, None)
    return env


def compile_packages(work: Path, log: Path) -> tuple[Path, Path]:
    """Build every package under interfaces/; returns (install prefix, its site-packages)."""
    env = clean_environment()
    venv, prefix = work / "venv", work / "install"
    run([sys.executable, "-m", "venv", str(venv)], env, log)
    python = venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--no-compile"]
    run([*pip, "-r", str(REQUIREMENTS)], env, log)
    env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(venv)
    fix = work / "fix.cmake"
    fix.write_text(CMAKE_FIX)
    for package in sorted(p for p in INTERFACES.iterdir() if p.is_dir()):
        print(f"  compiling {package.name}", file=sys.stderr, flush=True)
        source, build, depends = work / "src" / package.name, work / "build", dependencies(package)
        shutil.copytree(package, source)
        files = sorted(p.relative_to(package).as_posix() for p in package.rglob("*.*"))
        (source / "package.xml").write_text(
            PACKAGE_XML.format(
                name=package.name,
                version=VERSIONS[package.name],
                depends="\n".join(f"  <depend>{d}</depend>" for d in depends),
            )
        )
        (source / "CMakeLists.txt").write_text(
            CMAKELISTS.format(
                name=package.name,
                find="\n".join(f"find_package({d} REQUIRED)" for d in depends),
                files="\n  ".join(f'"{f}"' for f in files),
                depends=" ".join(depends),
            )
        )
        configure = [
            *("cmake", "-S", str(source), "-B", str(build / package.name), "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF"),
            f"-DCMAKE_INSTALL_PREFIX={prefix}",
            f"-DPython3_EXECUTABLE={python}",
            "-DPython3_FIND_VIRTUALENV=ONLY",
            f"-DCMAKE_PROJECT_INCLUDE={fix}",
        ]
        run(configure, env, log)
        run(["cmake", "--build", str(build / package.name), "--target", "install"], env, log)
    site = next(prefix.glob("lib/python*/site-packages"))
    return prefix, site


def write_wheel(prefix: Path, site: Path, target: Path) -> None:
    """Pack an install tree: Python to the wheel's root, lib/ and share/ to the venv's root."""
    name = f"nemo_ros_interfaces-{WHEEL_VERSION}"
    entries: list[tuple[str, Path]] = []
    for path in sorted(p for p in site.rglob("*") if p.is_file()):
        if "__pycache__" not in path.parts:
            entries.append((path.relative_to(site).as_posix(), path))
    for library in sorted(prefix.glob("lib/*.so")):
        entries.append((f"{name}.data/data/lib/{library.name}", library))
    for path in sorted(p for p in (prefix / "share").rglob("*") if p.is_file()):
        relative = path.relative_to(prefix)
        if relative.suffix in {".msg", ".srv", ".xml", ".json"} or "ament_index" in relative.parts:
            entries.append((f"{name}.data/data/{relative.as_posix()}", path))
    metadata = (
        f"Metadata-Version: 2.1\nName: nemo-ros-interfaces\nVersion: {WHEEL_VERSION}\n"
        "Summary: vision_msgs, tf2_msgs and composition_interfaces for the ROS 2 wheels\n"
        "License: Apache-2.0\n"
    )
    wheel = f"Wheel-Version: 1.0\nGenerator: nemo_ros\nRoot-Is-Purelib: false\nTag: {tag()}\n"
    record: list[str] = []
    temporary = target.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(where: str, data: bytes) -> None:
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{where},sha256={digest},{len(data)}")
            archive.writestr(where, data)

        for where, path in entries:
            add(where, path.read_bytes())
        add(f"{name}.dist-info/METADATA", metadata.encode())
        add(f"{name}.dist-info/WHEEL", wheel.encode())
        record.append(f"{name}.dist-info/RECORD,,")
        archive.writestr(f"{name}.dist-info/RECORD", "\n".join(record) + "\n")
    temporary.replace(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=cache_home / "nemo_ros" / "interfaces")
    parser.add_argument("--print-hash", action="store_true", help="print the inputs' hash and stop")
    args = parser.parse_args()
    if args.print_hash:
        print(inputs_hash())
        return 0
    target = args.cache / inputs_hash() / f"nemo_ros_interfaces-{WHEEL_VERSION}-{tag()}.whl"
    if not target.is_file():
        for tool in ("g++", "cmake"):
            if shutil.which(tool) is None:
                raise SystemExit(f"make setup: {tool} is missing: sudo apt-get install g++ cmake")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="nemo_interfaces_") as folder:
            work = Path(folder)
            write_wheel(*compile_packages(work, work / "build.log"), target)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
