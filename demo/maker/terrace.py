# SPDX-License-Identifier: Apache-2.0
"""The terrace around the furniture: pavers, lawn, houses, hedges, trees, pergola and planters."""

from __future__ import annotations

import numpy as np

from maker import materials
from maker.assets import Model
from maker.houses import houses
from maker.parts import box, copies, cylinder, prototype
from maker.terrace_plan import PLANTERS, POSTS, TIMELINE, TUBS, around

PLANTS = ("hedge", "maple", "poplar")
"""The models that build needs."""
FRONTS = 8.5
"""y of the house fronts behind the car."""
POST_TOP = 2.5


def _ground() -> None:
    slabs = materials.bricks(
        "slabs", (0.36, 0.33, 0.29), (0.43, 0.40, 0.35), (0.16, 0.15, 0.14), 0.6, 0.6, 0.012
    )
    lawn = materials.plaster("lawn", (0.07, 0.12, 0.03))
    kerb = materials.plaster("kerb", (0.4, 0.39, 0.36))
    drive = materials.bricks(
        "drive", (0.21, 0.19, 0.18), (0.27, 0.25, 0.24), (0.1, 0.1, 0.1), 0.2, 0.1, 0.008
    )
    box("lawn", (-45, -45, -0.3), (45, 45, -0.06), lawn)
    box("terrace", (-8.4, -8.4, -0.3), (8.4, 1.1, 0.0), slabs)
    box("drive", (-45, 1.22, -0.3), (45, 3.9, 0.0), drive)
    for y in (1.1, 3.9):
        box("kerb", (-45, y, -0.3), (45, y + 0.12, 0.004), kerb)


def _pergola() -> None:
    """Its posts; the camera sees no beams."""
    wood = materials.plain("larch", (0.30, 0.17, 0.08), 0.6)
    for angle, distance in POSTS:
        cylinder("post", 0.085, 0.0, POST_TOP, around(angle, distance), wood, "occluder")
        cylinder("post foot", 0.12, 0.0, 0.12, around(angle, distance), wood, "occluder")


def _planters(models: dict[str, Model], rng: np.random.Generator) -> None:
    hedge = prototype(models["hedge"], "hedge")
    concrete = materials.plaster("planter", (0.33, 0.32, 0.3))
    for angle, distance in PLANTERS:
        x, y = around(angle, distance)
        cylinder("planter", 0.40, 0.0, 0.42, (x, y), concrete, "occluder", top=0.46)
        copies(hedge, (x, y, 0.36), np.radians(angle), 0.55, "occluder", tall=0.85)
    for angle, distance in TUBS:
        x, y = around(angle, distance)
        cylinder("tub", 0.28, 0.0, 0.45, (x, y), concrete, "occluder", top=0.34)
        for turn in (0.0, np.pi / 2):
            copies(hedge, (x, y, 0.4), turn, 0.44, "occluder", tall=2.4)
    for k in range(-9, 10):  # around the garden
        for x, y, yaw in ((1.5 * k, -13.0, 0.0), (-13.5, 1.5 * k, np.pi / 2),
                          (13.5, 1.5 * k, np.pi / 2)):  # fmt: skip
            if abs(y - 2.5) > 1.9:
                copies(hedge, (x, y, -0.06), yaw + float(rng.normal(0, 0.03)), 1.05)
    for k in range(-8, 9):
        if k % 4 != 1:
            copies(hedge, (1.5 * k, 5.6, -0.06), float(rng.normal(0, 0.03)), 0.9)


def build(models: dict[str, Model]) -> None:
    """Build everything but the objects of the ground truth."""
    rng = np.random.default_rng(TIMELINE.seed)
    _ground()
    houses(FRONTS, -1.0, rng, gap=True)
    houses(-30.0, 1.0, rng, gap=False)
    _pergola()
    _planters(models, rng)
    end = materials.plaster("end wall", (0.45, 0.36, 0.27))
    for side in (-1.0, 1.0):
        box("end", (33.0 * side, -30.0, 0.0), (35.0 * side, 30.0, 7.0), end)
    for name, spots in {
        "maple": ((-17.0, -6.0, 0.9, 0.7), (18.0, -3.0, 2.1, 0.75), (-9.0, -19.0, 0.3, 0.8)),
        "poplar": ((-15.5, 5.6, 0.2, 1.0), (-10.5, 5.9, 1.4, 0.9), (10.0, 5.9, 0.7, 1.0),
                   (16.5, 5.4, 0.5, 1.1), (-20.0, 0.5, 1.9, 1.2), (-22.0, -9.0, 0.1, 1.1),
                   (20.5, 1.0, 1.1, 1.2), (23.0, -10.0, 2.1, 1.2), (7.0, -17.0, 0.8, 1.1)),
    }.items():  # fmt: skip
        plant = prototype(models[name], name)
        for x, y, yaw, scale in spots:
            copies(plant, (x, y, -0.06), yaw, scale)
