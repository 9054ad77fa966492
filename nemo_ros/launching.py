# SPDX-License-Identifier: Apache-2.0
"""Start the genuine launch file in a session of its own, and end all of it.

With ROS 2 installed this is ``ros2 launch``; with the PyPI wheels, where the real launch is not to
be had, play_launch runs the same file, and where its libraries are missing, nemo_ros.plain_launch.
The demo and the tests use it.

    with launched("pose.launch.py", {"image": "/camera/image"}, log_dir=folder):
        ...
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nemo_model.errors import NemoError
from nemo_ros.share import PACKAGE, share

PREFIX = Path(sys.prefix)
GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
_LIBPYTHON = re.compile(rb"libpython3\.(\d+)\.so\.1\.0")


class LaunchError(NemoError):
    """The launch file cannot be started on this machine, or ended at once."""


@dataclass
class Launched:
    """A running launch: its command, its process (leader of the session) and its log folder."""

    command: Sequence[str]
    process: subprocess.Popen[bytes]
    log_dir: Path

    def output(self) -> str:
        """What was printed so far, by the launcher and by the nodes that it logs to files."""
        files = [self.log_dir / "launch.log", *sorted(self.log_dir.glob("play/latest/node/*/err"))]
        files += sorted(self.log_dir.glob("play/latest/node/*/out"))
        return "".join(path.read_text(errors="replace") for path in files if path.is_file())

    def check(self) -> None:
        """Raise LaunchError with the end of the log when it has ended."""
        if self.process.poll() is not None:
            tail = "\n".join(self.output().splitlines()[-30:])
            raise LaunchError(f"the launch ended with status {self.process.returncode}:\n{tail}")

    def processes(self) -> list[int]:
        """Ids of the processes it started that still run (launchers give nodes own groups)."""
        return _session(self.process.pid)

    def stop(self, patience_s: float = 10.0) -> None:
        """End everything it started: SIGINT to the launcher, then SIGTERM and SIGKILL to all."""
        _send([self.process.pid], signal.SIGINT)
        if _wait(self.process, patience_s):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            _send(self.processes(), number)
            if _wait(self.process, 3.0):
                return


def dds_environment() -> dict[str, str]:
    """Variables that let 720p images through: set them before rclpy.init in whatever publishes.

    Fast DDS up to 2.14 (Humble, Jazzy) reads the second name, later ones the first. Values that
    are set already are kept.
    """
    profile = share() / "config" / "fastdds.xml"
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    return {name: os.environ.get(name, str(profile)) for name in names}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, in which the package and the ROS 2 wheels are found."""
    env = {**os.environ, **(extra or {})}
    if "ROS_DISTRO" not in env or not sourced(env):
        prefixes = [str(PREFIX), *env.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
        env["AMENT_PREFIX_PATH"] = os.pathsep.join(dict.fromkeys(p for p in prefixes if p))
        env["PATH"] = f"{PREFIX / 'bin'}{os.pathsep}{env.get('PATH', '')}"
    env.pop(GUARD, None)
    return env


def launch_command(
    launch_file: str,
    arguments: Mapping[str, str],
    env: dict[str, str],
    log_dir: Path,
    launcher: str = "auto",
) -> list[str]:
    """The command that runs a launch file of this package; may add to ``env``.

    launcher: "auto" takes ros2 launch, else play_launch, else plain_launch; "plain" the last one.

    Raises:
        LaunchError: when there is no such launch file.
    """
    given = [f"{name}:={value}" for name, value in arguments.items()]
    if sourced(env) and launcher != "plain":
        return ["ros2", "launch", PACKAGE, launch_file, *given]
    path = share() / "launch" / launch_file
    if not path.is_file():
        raise LaunchError(f"{path}: no such file; call make setup")
    plain = [sys.executable, "-m", "nemo_ros.plain_launch", str(path), *given]
    tool = _play_launch()
    if launcher == "plain" or tool is None:
        return plain
    libraries = [str(tool.parent.parent / "lib"), str(PREFIX / "lib")]
    libraries += [str(p) for p in sorted(Path(sysconfig.get_path("purelib")).glob("ros_*.libs"))]
    libraries += [str(p) for p in _python_library(tool, log_dir)]
    known = env.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    needs = {**env, "LD_LIBRARY_PATH": os.pathsep.join(dict.fromkeys([*libraries, *known]))}
    if subprocess.run(
        [str(tool), "--version"], env=needs, capture_output=True, check=False
    ).returncode:
        return plain
    env["LD_LIBRARY_PATH"] = needs["LD_LIBRARY_PATH"].strip(os.pathsep)
    # Its embedded Python would re-execute it for these paths, and it cannot; they are set already.
    env[GUARD] = "1"
    options = ["--disable-all", "--on-startup-failure", "exit", "--log-dir", str(log_dir / "play")]
    return [str(tool), "launch", *options, str(path), *given]


@contextmanager
def launched(
    launch_file: str = "pose.launch.py",
    arguments: Mapping[str, str] | None = None,
    *,
    log_dir: Path,
    env: Mapping[str, str] | None = None,
    launcher: str = "auto",
) -> Iterator[Launched]:
    """Run a launch file of this package until the block ends. Output goes to log_dir/launch.log."""
    log_dir.mkdir(parents=True, exist_ok=True)
    full = environment(env)
    command = launch_command(launch_file, arguments or {}, full, log_dir, launcher)
    shutil.rmtree(log_dir / "play", ignore_errors=True)
    with (log_dir / "launch.log").open("wb") as stream:
        process = subprocess.Popen(
            command,
            env=full,
            cwd=log_dir,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # real launch orphans its nodes when it alone gets a signal
        )
    running = Launched(command, process, log_dir)
    try:
        yield running
    finally:
        running.stop()


def sourced(env: Mapping[str, str]) -> bool:
    """Whether a ROS 2 installation is sourced in this environment."""
    return "ROS_DISTRO" in env and shutil.which("ros2", path=env.get("PATH")) is not None


def _play_launch() -> Path | None:
    tool = Path(sysconfig.get_path("purelib")) / "play_launch" / "bin" / "play_launch"
    return tool if tool.is_file() else None


def _python_library(tool: Path, folder: Path) -> list[Path]:
    """Folder with the libpython that play_launch was linked with, or the nearest one; or nothing.

    It asks for the one of Ubuntu's Python 3.10 by name; what it uses of it is the same in 3.11.
    """
    wanted = _LIBPYTHON.search(tool.read_bytes())
    minor = int(wanted[1]) if wanted else 0
    for number in (minor, minor + 1):
        for place in _library_folders(number):
            found = place / f"libpython3.{number}.so.1.0"
            if found.is_file():
                target = folder / "libpython" / f"libpython3.{minor}.so.1.0"
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.is_symlink():
                    target.symlink_to(found.resolve())
                return [target.parent]
    return []


def _library_folders(minor: int) -> list[Path]:
    places = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/local/lib"), Path("/usr/lib")]
    libdir = sysconfig.get_config_var("LIBDIR")
    if sys.version_info[1] == minor and libdir:
        places.insert(0, Path(libdir))
    return places


def _session(leader: int) -> list[int]:
    """Living processes of a session, the leader among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # after the name in brackets: state, parent, group, session
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it ended meanwhile
            continue
        if int(session) == leader and state != "Z":
            found.append(int(entry.name))
    return found


def _send(processes: list[int], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _wait(leader: subprocess.Popen[bytes], patience_s: float) -> bool:
    """Wait until every process of the leader's session has ended."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        leader.poll()  # reap it, else it stays
        if leader.returncode is not None and not _session(leader.pid):
            return True
        time.sleep(0.05)
    return False
