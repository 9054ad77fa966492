# SPDX-License-Identifier: Apache-2.0
"""Bring a model into the scene: metric size, object frame, place, materials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from maker.assets import Model
from maker.surfaces import surfaces
from maker.timeline import Placement, T_world_obj
from nemo_model.synth.axes import rotation_to_object

Array = npt.NDArray[np.float64]

IMPORTED = ("y", "z")
"""The up and front of files that import_model turns into the object frame."""


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


def place(model: Model, placement: Placement) -> Array:
    """Import an object, scale it to its catalogue's length, put it on the ground.

    Returns:
        size (3,): extents of its bounding box along x, y, z of the object frame, metres.
    """
    objects = import_model(model.path, placement.model)
    R = rotation_to_object(model.up, model.front) @ rotation_to_object(*IMPORTED).T
    every = np.concatenate([vertices(o) for o in objects]) @ R.T
    lo, hi = every.min(0), every.max(0)
    scale = model.length / (hi - lo)[1]
    size, centre = (hi - lo) * scale, (lo + hi) / 2.0
    to_object = np.eye(4)
    to_object[:3, :3] = scale * R
    to_object[:3, 3] = -scale * centre
    T = T_world_obj(placement, size[2]) @ to_object
    replaced = surfaces(placement)
    for item in objects:
        item.matrix_world = [list(row) for row in T.T]
        item["truth"] = f"object:{placement.track_id}"
        for slot in item.material_slots:
            key = slot.material.name.split(".")[0] if slot.material else ""
            if key in replaced:
                slot.material = replaced[key]
    return size
