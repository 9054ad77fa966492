# SPDX-License-Identifier: Apache-2.0
"""A small cache of models, written by the tests: OBJ chairs in a zip, an AC3D aeroplane."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

from nemo_model.synth.catalogue import Entry


def box(low: tuple[float, ...], high: tuple[float, ...], first: int) -> str:
    """OBJ text of a cuboid whose vertices count from `first`."""
    corners = [(low, high)[(k >> a) & 1][a] for k in range(8) for a in range(3)]
    lines = [f"v {corners[k]} {corners[k + 1]} {corners[k + 2]}" for k in range(0, 24, 3)]
    quads = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))
    lines += ["f " + " ".join(f"{first + k}/{k % 4 + 1}" for k in quad) for quad in quads]
    return "\n".join(lines) + "\n"


def chair_obj(tall: float) -> str:
    """A seat with a back and two legs; y up, one sits facing z; centimetres."""
    parts = [
        ("wood", (-20, 40, -20), (20, 46, 20)),
        ("cloth", (-20, 46, -20), (20, 46 + tall, -14)),
        ("wood", (-20, 0, -20), (-14, 40, 20)),
        ("wood", (14, 0, -20), (20, 40, 20)),
    ]
    text = "mtllib chair.mtl\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    for k, (name, low, high) in enumerate(parts):
        text += f"usemtl {name}\n" + box(low, high, 8 * k + 1)
    return text


MTL = (
    "newmtl wood\nKd 0.5 0.3 0.1\nKs 0.2 0.2 0.2\nNs 30\nnewmtl cloth\nKd 1 1 1\nmap_Kd cloth.png\n"
)

PLANE = """AC3Db
MATERIAL "white" rgb 1 1 1  amb 1 1 1  emis 0 0 0  spec 0.5 0.5 0.5  shi 64  trans 0
OBJECT world
kids 3
OBJECT poly
name "body"
data 5
x y
z
loc 0 1 0
texture "skin.png"
texrep 2 1
numvert 5
-4 0 0
4 0 1
4 0 -1
4 1 0
0 0 0
numsurf 4
SURF 0x10
mat 0
refs 3
0 0 0
1 1 0
3 1 1
SURF 0x10
mat 0
refs 3
0 0 0
3 1 1
2 1 0
SURF 0x10
mat 0
refs 3
0 0 0
2 1 0
1 1 1
SURF 0x02
mat 0
refs 2
0 0 0
4 0 0
kids 0
OBJECT poly
name "wing"
rot 1 0 0 0 1 0 0 0 1
numvert 4
-1 1 -5
1 1 -5
1 1 5
-1 1 5
numsurf 1
SURF 0x20
mat 0
refs 4
0 0 0
1 0 0
2 0 0
3 0 0
kids 0
OBJECT poly
name "propdisc"
numvert 3
-9 0 0
-9 1 0
-9 0 1
numsurf 1
SURF 0x20
mat 0
refs 3
0 0 0
1 0 0
2 0 0
kids 0
"""


def entry(name: str, family: str, **changes: object) -> Entry:
    """An entry of a chair in the zip."""
    fields: dict[str, object] = {
        "category": "chair", "family": family, "package": "sweethome3d-furniture",
        "archive": "usr/share/furniture.sh3f", "path": f"shop/{name}/{name}.obj", "up": "y",
        "front": "z", "width_m": 0.4, "length_m": 0.4, "height_m": 0.9, "symmetry": 1,
        "licence": "CC0-1.0", "author": "somebody",
    }  # fmt: skip
    return Entry(**(fields | changes))  # type: ignore[arg-type]


def write_cache(cache: Path) -> list[Entry]:
    """Write the packages as `nemo synth fetch` leaves them; return the table of their models."""
    package = cache / "sweethome3d-furniture"
    (package / "usr/share").mkdir(parents=True)
    entries = []
    texture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    png = cv2.imencode(".png", texture)[1].tobytes()
    with zipfile.ZipFile(package / "usr/share/furniture.sh3f", "w") as file:
        for k in range(5):
            name = f"chair{k}"
            file.writestr(f"shop/{name}/{name}.obj", chair_obj(30.0 + 5 * k))
            file.writestr(f"shop/{name}/chair.mtl", MTL)
            file.writestr(f"shop/{name}/cloth.png", png)
            entries.append(entry(name, f"family{k // 2 if k < 2 else k}"))
    (package / ".complete").touch()
    return entries
