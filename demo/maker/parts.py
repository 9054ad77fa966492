# SPDX-License-Identifier: Apache-2.0
"""What scenes are put together from: boxes, cylinders, copies of plants."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from maker import materials
from maker.assets import Model
from maker.models import import_model, vertices


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


def cylinder(
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


def copies(objects: list[Any], at: tuple[float, float, float], yaw: float, scale: float,
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


def prototype(model: Model, name: str) -> list[Any]:
    """Import a plant in metres, centred, bottom at z = 0; unlink it (only copies are shown)."""
    objects = import_model(model.path, name)
    every = np.concatenate([vertices(o) for o in objects])
    lo, hi = every.min(0), every.max(0)
    scale = model.length / max((hi - lo)[:2])
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
