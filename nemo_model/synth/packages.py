# SPDX-License-Identifier: Apache-2.0
"""The Debian packages that the models come from: fetched and unpacked, nothing is installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_model.errors import NemoError
from nemo_model.synth.catalogue import Entry


@dataclass(frozen=True)
class Package:
    """A package as the table of models was made with.

    Attributes:
        name, version: Debian's.
        sha256: of the .deb; other versions are taken, but not checked.
        megabytes: what the download takes.
        licence: of the models in it, in words.
    """

    name: str
    version: str
    sha256: str
    megabytes: int
    licence: str


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "sweethome3d-furniture", "1.8-1",
            "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668", 120,
            "CC0 (BlendSwap-CC-0), CC-BY 3.0 (BlendSwap-CC-BY, Scopia), CC-BY 3.0 US (KatorLegaz)",
        ),
        Package(
            "flightgear-data-ai", "1:2020.3.16+dfsg-1",
            "a86b2acbf99ff2d49698abd2a2f4bc28ab0cf5a744218b4ca4d8aede8a67dc2f", 287,
            "GPL-2+ (the FlightGear team)",
        ),
        Package(
            "opencity-data", "0.0.6.5stable-5",
            "ca9e9e6619da070e20e1e0089bd9fd1187dce6d8b01b19ca3a9c1cdf8f580e6e", 8,
            "GPL-2+ (OpenCity's authors)",
        ),
    )
}  # fmt: skip


def fetch(names: Iterable[str], cache: Path) -> dict[str, Path]:
    """Download and unpack packages that the cache lacks; return where each is unpacked.

    Raises:
        NemoError: where apt-get or dpkg are missing or fail, or a file is not what it should be.
    """
    return {name: _fetch(name, cache) for name in names}


def unpacked(name: str, cache: Path) -> Path:
    """Where a package is unpacked. Raises NemoError where it is not."""
    folder = cache / name
    if not (folder / ".complete").is_file():
        raise NemoError(
            f"{folder}: the package is not there; run `nemo synth fetch --cache {cache}`"
        )
    return folder


def _fetch(name: str, cache: Path) -> Path:
    folder = cache / name
    if (folder / ".complete").is_file():
        return folder
    if name not in PACKAGES:
        raise NemoError(f"package {name!r} is not known; there are {', '.join(PACKAGES)}")
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise NemoError(
                f"{tool}: not found; on a Debian or Ubuntu machine run `apt-get download {name}` "
                f"and `dpkg -x {name}_*.deb {folder}`, then `touch {folder}/.complete`"
            )
    debs = cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    if not _debs(debs, name):
        print(f"{name}: {PACKAGES[name].megabytes} MB to download")
        _run(["apt-get", "download", name], debs, "perhaps `sudo apt-get update` is needed first")
    deb = _debs(debs, name)[-1]
    check(deb, PACKAGES[name])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _run(["dpkg", "-x", str(deb.absolute()), str(folder.absolute())], debs, f"delete {deb}")
    (folder / ".complete").write_text(f"{deb.name}\n", encoding="utf-8")
    return folder


def _debs(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}_*.deb"))


def check(deb: Path, package: Package) -> None:
    """Raise NemoError where a .deb of the table's version has not the table's SHA-256."""
    version = deb.name.split("_")[1].replace("%3a", ":")
    if version != package.version:
        print(f"{deb.name}: models.csv was made with {package.version}; models may have changed")
        return
    digest = hashlib.sha256()
    with deb.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != package.sha256:
        raise NemoError(f"{deb}: is damaged (SHA-256 {digest.hexdigest()}); delete it and fetch")


def _run(command: Sequence[str], folder: Path, advice: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NemoError(f"{' '.join(command[:2])} failed: {last}; {advice}")


def locate(entry: Entry, cache: Path) -> tuple[Path, Path]:
    """The model's file and the folder to look for textures in; unzips what has to be.

    Raises:
        NemoError: naming what is not there.
    """
    package = unpacked(entry.package, cache)
    if not entry.archive:
        path = package / entry.path
        if not path.is_file():
            raise NemoError(f"{path}: not in the package (another version?)")
        return path, _top(path)
    archive = package / entry.archive
    folder = cache / "models" / archive.stem
    path = folder / entry.path
    if not path.is_file():
        inside = entry.path.rpartition("/")[0] + "/"
        try:
            with zipfile.ZipFile(archive) as file:
                names = [n for n in file.namelist() if n.startswith(inside)]
                if entry.path not in names:
                    raise NemoError(f"{archive}: holds no {entry.path} (another version?)")
                names.sort(key=lambda n: n == entry.path)  # the model last: it tells all is there
                file.extractall(folder, names)
        except (OSError, zipfile.BadZipFile) as error:
            raise NemoError(f"{archive}: cannot be read ({error})") from error
    return path, path.parent


def _top(path: Path) -> Path:
    """An aircraft's folder: that above its folder Models, else the model's own."""
    for parent in path.parents:
        if parent.name in ("Models", "Model"):
            return parent.parent
    return path.parent
