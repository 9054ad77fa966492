# SPDX-License-Identifier: Apache-2.0
"""Rows of houses with windows and doors."""

from __future__ import annotations

from typing import Any

import numpy as np

from maker import materials
from maker.parts import box


def _window(x: float, y: float, z: float, w: float, h: float, side: float, m: dict[str, Any],
            rng: np.random.Generator) -> None:  # fmt: skip
    """Frame, panes, sill and maybe curtains, on a wall at y that faces side (-1: the street)."""
    f = side * 0.05
    ys = sorted((y, y + f))
    box("frame", (x - w / 2, ys[0], z), (x + w / 2, ys[1], z + h), m["frame"])
    for half in (-1, 1):
        cx = x + half * w / 4
        p = sorted((y + f, y + f * 1.15))
        lo, hi = (cx - w / 4 + 0.05, p[0], z + 0.06), (cx + w / 4 - 0.05, p[1], z + h - 0.06)
        box("pane", lo, hi, m["pane"] if rng.random() < 0.75 else m["curtain"])
    s = sorted((y, y + side * 0.14))
    box("sill", (x - w / 2 - 0.06, s[0], z - 0.09), (x + w / 2 + 0.06, s[1], z), m["sill"])


def houses(y: float, side: float, rng: np.random.Generator, gap: bool) -> None:
    walls = [
        materials.bricks("red brick", (0.27, 0.09, 0.055), (0.34, 0.13, 0.08),
                         (0.33, 0.31, 0.28), 0.24, 0.083, swap=True),
        materials.plaster("cream", (0.62, 0.55, 0.42)),
        materials.plaster("grey", (0.42, 0.43, 0.43)),
        materials.bricks("yellow brick", (0.42, 0.33, 0.2), (0.5, 0.4, 0.26),
                         (0.36, 0.34, 0.3), 0.24, 0.083, swap=True),
        materials.plaster("ochre", (0.55, 0.33, 0.15)),
        materials.plaster("white", (0.72, 0.71, 0.68)),
    ]  # fmt: skip
    m = {
        "frame": materials.plain("window frame", (0.68, 0.68, 0.66), 0.45),
        "pane": materials.plain("pane", (0.012, 0.015, 0.018), 0.02, coat=1.0),
        "curtain": materials.plain("curtain", (0.42, 0.4, 0.36), 0.25, coat=1.0),
        "sill": materials.plaster("sill", (0.5, 0.49, 0.46)),
        "door": materials.plain("door", (0.05, 0.09, 0.06), 0.35, coat=0.6),
    }
    x, k = -40.0, 0
    while x < 40.0:
        width = float(rng.uniform(7.0, 10.5))
        high = float(rng.uniform(6.4, 9.5))
        back = y - side * 9.0
        wall = walls[k % len(walls)]
        box("house", (x, min(y, back), 0), (x + width, max(y, back), high), wall)
        eaves = sorted((y + side * 0.3, back))
        box("eaves", (x, eaves[0], high), (x + width, eaves[1], high + 0.25), m["sill"])
        count = int(width // 2.3)
        door = int(rng.integers(count))
        for storey in range(int(high // 2.9)):
            for i in range(count):
                cx = x + width * (i + 0.5) / count
                if storey == 0 and i == door:
                    d = sorted((y, y + side * 0.06))
                    box("door", (cx - 0.5, d[0], 0.1), (cx + 0.5, d[1], 2.25), m["door"])
                else:
                    _window(cx, y, 1.0 + 2.9 * storey, 1.15, 1.45, side, m, rng)
        x += width + (2.8 if gap and k % 2 == 1 else 0.0)
        k += 1
