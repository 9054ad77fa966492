# SPDX-License-Identifier: Apache-2.0
"""The street around the cars: ground, kerbs, houses, hedges, trees and the two occluders."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from maker import materials
from maker.assets import Model
from maker.houses import houses
from maker.parts import box, copies, cylinder, prototype
from maker.street_plan import COLUMN_XY, HEDGE_XY, TIMELINE

FAR_KERB, NEAR_KERB = 1.35, -5.0
PLANTS = ("hedge", "maple", "poplar")
"""The models that build needs."""
FRONTS = 7.2
"""y of the house fronts across the street."""


def _ground() -> None:
    concrete = materials.plaster("concrete", (0.36, 0.35, 0.33))
    pavers = materials.bricks(
        "pavers", (0.27, 0.26, 0.25), (0.34, 0.33, 0.31), (0.13, 0.125, 0.12), 0.40, 0.20, 0.008
    )
    earth = materials.plaster("earth", (0.07, 0.09, 0.035))
    white = materials.plaster("road paint", (0.62, 0.62, 0.6))
    box("road", (-45, NEAR_KERB, -0.2), (45, FAR_KERB, 0.0), materials.asphalt())
    for name, y0, y1, z, material in (
        ("far kerb", FAR_KERB, FAR_KERB + 0.15, 0.11, concrete),
        ("far pavement", FAR_KERB + 0.15, 4.1, 0.1, pavers),
        ("gardens", 4.1, FRONTS, 0.08, earth),
        ("near kerb", NEAR_KERB - 0.15, NEAR_KERB, 0.11, concrete),
        ("near pavement", -16.5, NEAR_KERB - 0.15, 0.1, pavers),
    ):
        box(name, (-45, y0, -0.2), (45, y1, z), material)
    for k in range(-14, 15):
        box(f"lane {k}", (3.0 * k, -1.32, 0.0), (3.0 * k + 1.5, -1.2, 0.004), white)


def _poster(rng: np.random.Generator, width: int = 512, height: int = 384) -> Any:
    """Draw posters of coloured blocks, discs and lines of would-be text; return the image."""
    pixels = np.full((height, width, 3), 0.6)
    yy, xx = np.mgrid[:height, :width]
    for x in range(0, width, 85):
        for y in range(0, height, 128):
            pixels[y + 3 : y + 125, x + 2 : x + 83] = rng.uniform(0.1, 0.8) * rng.uniform(
                0.6, 1.0, 3
            )
            accent = rng.uniform(0.05, 0.9) * rng.uniform(0.3, 1.0, 3)
            centre = (x + rng.integers(24, 62), y + rng.integers(70, 100))
            disc = (xx - centre[0]) ** 2 + (yy - centre[1]) ** 2
            pixels[disc < rng.integers(10, 24) ** 2] = accent
            for line in range(int(rng.integers(3, 7))):
                top = y + 8 + 8 * line
                pixels[top : top + 4, x + 8 : x + 8 + int(rng.integers(20, 68))] = 1 - accent
    pixels = np.clip(pixels + rng.normal(0, 0.02, pixels.shape), 0, 1)
    image = bpy.data.images.new("posters", width, height)
    rgba = np.concatenate([pixels, np.ones((height, width, 1))], -1).astype(np.float32)
    image.pixels.foreach_set(rgba[::-1].ravel())
    image.pack()
    return image


def _column(rng: np.random.Generator) -> None:
    """The advertising column: base, posters, cap."""
    stone = materials.plaster("column stone", (0.4, 0.39, 0.36))
    green = materials.plain("column cap", (0.03, 0.1, 0.06), 0.4, coat=0.4)
    posters = materials.picture("posters", _poster(rng), 0.55)
    cylinder("column base", 0.6, 0.1, 0.45, COLUMN_XY, stone, "occluder")
    cylinder("column", 0.54, 0.45, 2.75, COLUMN_XY, posters, "occluder")
    cylinder("column rim", 0.66, 2.75, 2.9, COLUMN_XY, green, "occluder")
    cylinder("column cap", 0.64, 2.9, 3.35, COLUMN_XY, green, "occluder", top=0.05)


def build(models: dict[str, Model]) -> None:
    """Build everything but the cars."""
    rng = np.random.default_rng(TIMELINE.seed)
    _ground()
    houses(FRONTS, -1.0, rng, gap=True)
    houses(-27.0, 1.0, rng, gap=False)
    hedge = prototype(models["hedge"], "hedge")
    for k in range(-16, 17):
        if k % 5 != 3:
            at = (1.5 * k + float(rng.normal(0, 0.05)), 4.6, 0.08)
            copies(hedge, at, float(rng.normal(0, 0.03)), 1.05)
    planter = materials.plaster("planter", (0.33, 0.32, 0.3))
    for k in (-0.5, 0.5):
        x, y = HEDGE_XY[0] + 0.85 * k, HEDGE_XY[1]
        item = box("planter", (x - 0.42, y - 0.33, 0.1), (x + 0.42, y + 0.33, 0.5), planter)
        item["truth"] = "occluder"
        copies(hedge, (x, y, 0.42), np.pi * (k > 0), 0.68, "occluder", tall=1.3)
    end = materials.plaster("end wall", (0.45, 0.36, 0.27))
    for side in (-1.0, 1.0):
        box("end", (44.0 * side, -30.0, 0.0), (46.0 * side, 30.0, 8.0), end)
        for k in range(9):
            at = (side * (38.0 + float(rng.uniform(-2, 2))), -22.0 + 4.1 * k, 0.08)
            copies(hedge, at, np.pi / 2, 2.4)
    for name, spots in {
        "maple": ((-11.5, 5.6, 0.9, 0.75), (14.5, 5.9, 2.1, 0.7), (-20.0, -15.0, 0.3, 0.8),
                  (33.0, -8.0, 1.5, 0.8)),
        "poplar": ((-4.2, 5.9, 0.2, 1.0), (5.6, 5.8, 1.4, 0.95), (22.0, 5.8, 0.7, 1.1),
                   (-30.0, 3.2, 0.5, 1.1), (30.0, 3.2, 1.9, 1.0), (20.0, -13.0, 0.1, 1.1),
                   (31.0, -1.5, 1.1, 1.2), (28.0, -16.0, 2.1, 1.2), (10.0, -19.0, 0.8, 1.1)),
    }.items():  # fmt: skip
        plant = prototype(models[name], name)
        for x, y, yaw, scale in spots:
            copies(plant, (x, y, 0.08), yaw, scale)
    _column(rng)
    steel = materials.plain("galvanised steel", (0.35, 0.36, 0.37), 0.45, metallic=0.8)
    for x in (-13.0, 0.6, 13.0):
        cylinder("lamp post", 0.07, 0.1, 6.0, (x, 1.85), steel, "occluder", top=0.05)
