# SPDX-License-Identifier: Apache-2.0
"""The street around the cars: ground, kerbs, houses, hedges, trees and the two occluders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from maker import materials
from maker.assets import ASSETS
from maker.cars import import_model, vertices
from maker.timeline import COLUMN_XY, HEDGE_XY, SEED

FAR_KERB, NEAR_KERB = 1.35, -5.0
FRONTS = 7.2
"""y of the house fronts across the street."""


def box(name: str, lo: tuple[float, ...], hi: tuple[float, ...], material: Any) -> Any:
    """Add an axis-aligned box; the object's origin is the world's, so textures are in metres."""
    x0, y0, z0 = lo
    x1, y1, z1 = hi
    points = [(x, y, z) for z in (z0, z1) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    faces = [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    mesh.materials.append(material)
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


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


def _houses(y: float, side: float, rng: np.random.Generator, gap: bool) -> None:
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


def _copies(objects: list[Any], at: tuple[float, float, float], yaw: float, scale: float,
            truth: str | None = None, tall: float = 1.0) -> None:  # fmt: skip
    """Place copies that share the meshes of imported objects (whose bottom is at z = 0)."""
    c, s = scale * np.cos(yaw), scale * np.sin(yaw)
    matrix = ((c, s, 0, 0), (-s, c, 0, 0), (0, 0, scale * tall, 0), (*at, 1))
    for item in objects:
        copy = bpy.data.objects.new(item.name, item.data)
        copy.matrix_world = matrix
        if truth:
            copy["truth"] = truth
        bpy.context.scene.collection.objects.link(copy)


def _prototype(path: Path, name: str, length: float) -> list[Any]:
    """Import a plant in metres, centred, bottom at z = 0; unlink it (only copies are shown)."""
    objects = import_model(path, name)
    every = np.concatenate([vertices(o) for o in objects])
    lo, hi = every.min(0), every.max(0)
    scale = length / max((hi - lo)[:2])
    shift = -scale * np.array([(lo[0] + hi[0]) / 2, (lo[1] + hi[1]) / 2, lo[2]])
    for item in objects:
        item.data.transform(
            ((scale, 0, 0, shift[0]), (0, scale, 0, shift[1]), (0, 0, scale, shift[2]),
             (0, 0, 0, 1))
        )  # fmt: skip
        for slot in item.material_slots:
            materials.as_foliage(slot.material)
        for collection in list(item.users_collection):
            collection.objects.unlink(item)
    return objects


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


def _cylinder(
    name: str,
    radius: float,
    z0: float,
    z1: float,
    xy: tuple[float, float],
    material: Any,
    truth: str | None = None,
    top: float | None = None,
) -> Any:
    """Add an upright cylinder, or a cone when `top` (its upper radius) is given."""
    bpy.ops.mesh.primitive_cone_add(
        vertices=48, radius1=radius, radius2=radius if top is None else top, depth=z1 - z0,
        location=(*xy, (z0 + z1) / 2),
    )  # fmt: skip
    item = bpy.context.object
    item.name = name
    item.data.materials.append(material)
    for polygon in item.data.polygons:
        polygon.use_smooth = len(polygon.vertices) == 4
    if truth:
        item["truth"] = truth
    return item


def _column(rng: np.random.Generator) -> None:
    """The advertising column: base, posters, cap."""
    stone = materials.plaster("column stone", (0.4, 0.39, 0.36))
    green = materials.plain("column cap", (0.03, 0.1, 0.06), 0.4, coat=0.4)
    posters = materials.picture("posters", _poster(rng), 0.55)
    _cylinder("column base", 0.6, 0.1, 0.45, COLUMN_XY, stone, "occluder")
    _cylinder("column", 0.54, 0.45, 2.75, COLUMN_XY, posters, "occluder")
    _cylinder("column rim", 0.66, 2.75, 2.9, COLUMN_XY, green, "occluder")
    _cylinder("column cap", 0.64, 2.9, 3.35, COLUMN_XY, green, "occluder", top=0.05)


def build(paths: dict[str, Path]) -> None:
    """Build everything but the cars."""
    rng = np.random.default_rng(SEED)
    _ground()
    _houses(FRONTS, -1.0, rng, gap=True)
    _houses(-27.0, 1.0, rng, gap=False)
    hedge = _prototype(paths["hedge"], "hedge", ASSETS["hedge"].length)
    for k in range(-16, 17):
        if k % 5 != 3:
            at = (1.5 * k + float(rng.normal(0, 0.05)), 4.6, 0.08)
            _copies(hedge, at, float(rng.normal(0, 0.03)), 1.05)
    planter = materials.plaster("planter", (0.33, 0.32, 0.3))
    for k in (-0.5, 0.5):
        x, y = HEDGE_XY[0] + 0.85 * k, HEDGE_XY[1]
        item = box("planter", (x - 0.42, y - 0.33, 0.1), (x + 0.42, y + 0.33, 0.5), planter)
        item["truth"] = "occluder"
        _copies(hedge, (x, y, 0.42), np.pi * (k > 0), 0.68, "occluder", tall=1.3)
    end = materials.plaster("end wall", (0.45, 0.36, 0.27))
    for side in (-1.0, 1.0):
        box("end", (44.0 * side, -30.0, 0.0), (46.0 * side, 30.0, 8.0), end)
        for k in range(9):
            at = (side * (38.0 + float(rng.uniform(-2, 2))), -22.0 + 4.1 * k, 0.08)
            _copies(hedge, at, np.pi / 2, 2.4)
    for name, spots in {
        "maple": ((-11.5, 5.6, 0.9, 0.75), (14.5, 5.9, 2.1, 0.7), (-20.0, -15.0, 0.3, 0.8),
                  (33.0, -8.0, 1.5, 0.8)),
        "poplar": ((-4.2, 5.9, 0.2, 1.0), (5.6, 5.8, 1.4, 0.95), (22.0, 5.8, 0.7, 1.1),
                   (-30.0, 3.2, 0.5, 1.1), (30.0, 3.2, 1.9, 1.0), (20.0, -13.0, 0.1, 1.1),
                   (31.0, -1.5, 1.1, 1.2), (28.0, -16.0, 2.1, 1.2), (10.0, -19.0, 0.8, 1.1)),
    }.items():  # fmt: skip
        plant = _prototype(paths[name], name, ASSETS[name].length)
        for x, y, yaw, scale in spots:
            _copies(plant, (x, y, 0.08), yaw, scale)
    _column(rng)
    steel = materials.plain("galvanised steel", (0.35, 0.36, 0.37), 0.45, metallic=0.8)
    for x in (-13.0, 0.6, 13.0):
        _cylinder("lamp post", 0.07, 0.1, 6.0, (x, 1.85), steel, "occluder", top=0.05)
