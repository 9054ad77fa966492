# SPDX-License-Identifier: Apache-2.0
"""The models of the scene: where they lie in Debian's sweethome3d-furniture, their licences."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asset:
    """One model of the package.

    Attributes:
        archive: the .sh3f file it is in.
        path: of the OBJ inside the archive.
        length: metres along its longest horizontal axis (from the archive's catalogue).
        licence, author: as the archive states them.
    """

    archive: str
    path: str
    length: float
    licence: str
    author: str


_SCOPIA = "eTeks and Scopia Visual Interfaces Systems, s.l. (http://www.scopia.es)"

ASSETS = {
    "focus": Asset(
        "BlendSwap-CC-BY.sh3f", "blendswap-cc-by/fordFocus/fordFocus.obj", 4.358,
        "CC-BY-3.0", "Ruff (https://www.blendswap.com, blend 76275)",
    ),
    "suv": Asset("Scopia.sh3f", "scopia/suv/suv.obj", 4.631, "CC-BY-3.0", _SCOPIA),
    "hedge": Asset(
        "Scopia.sh3f", "scopia/hedgeTextured/hedgeTextured.obj", 1.547, "CC-BY-3.0", _SCOPIA
    ),
    "maple": Asset(
        "Scopia.sh3f", "scopia/sycamoreMaple/sycamoreMaple.obj", 10.602, "CC-BY-3.0", _SCOPIA
    ),
    "poplar": Asset("Scopia.sh3f", "scopia/poplar/poplar.obj", 4.044, "CC-BY-3.0", _SCOPIA),
}  # fmt: skip

FURNITURE = "usr/share/sweethome3d/furniture"


def unpack(package_root: Path, cache: Path) -> dict[str, Path]:
    """Unpack the folders of the models that are used; return the OBJ path of each.

    Args:
        package_root: where `dpkg -x sweethome3d-furniture_*.deb` put the package.
        cache: folder to unpack into; files that are there stay.

    Raises:
        FileNotFoundError: when the package is not there.
    """
    paths = {}
    for name, asset in ASSETS.items():
        archive = package_root / FURNITURE / asset.archive
        if not archive.is_file():
            raise FileNotFoundError(
                f"{archive}: not found; run `apt-get download sweethome3d-furniture` "
                f"and `dpkg -x sweethome3d-furniture_*.deb {package_root}`"
            )
        target = cache / asset.path
        if not target.is_file():
            folder = asset.path.rsplit("/", 1)[0] + "/"
            with zipfile.ZipFile(archive) as z:
                z.extractall(cache, [n for n in z.namelist() if n.startswith(folder)])
        paths[name] = target
    return paths
