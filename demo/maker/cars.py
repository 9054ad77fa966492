# SPDX-License-Identifier: Apache-2.0
"""Bring a car model into the scene: metric size, object frame, believable materials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from maker import materials
from maker.assets import ASSETS
from maker.timeline import Placement, T_world_obj

Array = npt.NDArray[np.float64]

PAINTS = {"focus": (0.022, 0.075, 0.22), "suv": (0.33, 0.028, 0.022)}
"""Linear base colours of the metallic paint."""


def _surfaces(model: str) -> dict[str, Any]:
    """Return the material that replaces each material of the model; others stay as they are."""
    black = materials.plain("black plastic", (0.012, 0.012, 0.013), 0.45)
    gloss = materials.plain("black gloss", (0.008, 0.008, 0.009), 0.12, coat=1.0)
    rubber = materials.plain("rubber", (0.014, 0.014, 0.014), 0.75)
    chrome = materials.plain("chrome", (0.75, 0.75, 0.76), 0.08, metallic=1.0)
    alloy = materials.plain("alloy", (0.55, 0.56, 0.57), 0.28, metallic=1.0)
    dark = materials.plain("dark metal", (0.12, 0.12, 0.125), 0.35, metallic=0.9)
    inside = materials.plain("interior", (0.02, 0.02, 0.021), 0.8)
    lens = materials.glass("lens", (0.85, 0.87, 0.88), 0.02)
    window = materials.glass("window", (0.20, 0.24, 0.23), 0.05)
    red = materials.glass("red lens", (0.55, 0.01, 0.01), 0.03)
    amber = materials.plain("amber reflector", (0.75, 0.28, 0.03), 0.2, metallic=0.6)
    body = materials.paint(f"{model} paint", PAINTS[model])
    if model == "focus":
        return {
            "carPaint": body, "black_glossy": gloss, "black_rubber": rubber, "chrome": chrome,
            "chrome_dark": dark, "chrome_matte": alloy, "glass": window, "glass_red": red,
            "gray_darkMatte": black, "yellow_chrome": amber, "lens": lens,
        }  # fmt: skip
    return {
        "firstcolor": body, "glass": window, "tires": rubber, "chromes": chrome,
        "blackplastics": black, "interior": inside, "lowparts": black, "holes": inside,
        "doorlines": inside, "sweethome3d_window_mirror": chrome,
    }  # fmt: skip


def import_model(path: Path, name: str) -> list[Any]:
    """Import an OBJ; return its mesh objects, joined in one list, transforms applied."""
    before = set(bpy.data.objects)
    bpy.ops.wm.obj_import(filepath=str(path), forward_axis="NEGATIVE_Z", up_axis="Y")
    objects = [o for o in bpy.data.objects if o not in before and o.type == "MESH"]
    for index, item in enumerate(objects):
        item.name = f"{name}.{index}"
        matrix = np.array(item.matrix_world)
        item.data.transform(item.matrix_world)
        item.matrix_world = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
        assert matrix.shape == (4, 4)
    return objects


def vertices(item: Any) -> Array:
    """Return the vertices (N, 3) of a mesh object in its own coordinates."""
    flat = np.empty(len(item.data.vertices) * 3, dtype=np.float32)
    item.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3).astype(np.float64)


def place_car(path: Path, placement: Placement) -> Array:
    """Import a car, scale it to its catalogue length, put it on the street.

    Returns:
        size (3,): extents of its bounding box along x, y, z of the object frame, metres.
    """
    objects = import_model(path, placement.model)
    every = np.concatenate([vertices(o) for o in objects])
    lo, hi = every.min(0), every.max(0)
    scale = ASSETS[placement.model].length / (hi - lo)[1]
    size, centre = (hi - lo) * scale, (lo + hi) / 2.0
    to_object = np.eye(4)
    to_object[:3, :3] *= scale
    to_object[:3, 3] = -scale * centre
    T = T_world_obj(placement, size[2]) @ to_object
    surfaces = _surfaces(placement.model)
    for item in objects:
        item.matrix_world = [list(row) for row in T.T]
        item["truth"] = f"car:{placement.track_id}"
        for slot in item.material_slots:
            key = slot.material.name.split(".")[0] if slot.material else ""
            if key in surfaces:
                slot.material = surfaces[key]
    return size
