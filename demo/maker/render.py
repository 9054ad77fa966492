# SPDX-License-Identifier: Apache-2.0
"""Build the scene in Blender's Cycles, dump its geometry for the ground truth, render frames."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from maker import street, terrace, timeline
from maker.assets import find
from maker.models import place, vertices
from maker.timeline import Timeline

SCENES = {"street": street, "terrace": terrace}
"""Modules with the models that they need (PLANTS) and a function that builds them."""


@dataclass(frozen=True)
class Quality:
    """Render settings: share of the full resolution, samples per pixel, threads."""

    percent: int = 100
    samples: int = 2
    threads: int = 1


def _world() -> None:
    """Nishita sky with thin clouds; the sun is a lamp, which leaves less noise than its disc."""
    scene = bpy.context.scene
    world = bpy.data.worlds.new("sky")
    scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    sky = nodes.new("ShaderNodeTexSky")
    sky.sky_type = "NISHITA"
    sky.sun_disc = False
    sky.sun_elevation, sky.sun_rotation = math.radians(38), math.radians(205)
    sky.air_density, sky.dust_density = 1.3, 2.0
    coordinates = nodes.new("ShaderNodeTexCoord")
    noise = nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value = 2.6
    noise.inputs["Detail"].default_value = 3.0
    squash = nodes.new("ShaderNodeMapping")
    squash.inputs["Scale"].default_value = (1.0, 1.0, 3.5)
    ramp = nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.46, 0.72
    mix = nodes.new("ShaderNodeMixRGB")
    mix.inputs[2].default_value = (7.5, 7.6, 7.8, 1.0)
    links.new(coordinates.outputs["Generated"], squash.inputs["Vector"])
    links.new(squash.outputs[0], noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], mix.inputs[0])
    links.new(sky.outputs[0], mix.inputs[1])
    background = nodes["Background"]
    background.inputs["Strength"].default_value = 0.16
    links.new(mix.outputs[0], background.inputs["Color"])
    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy, lamp.angle, lamp.color = 4.2, math.radians(0.6), (1.0, 0.93, 0.82)
    sun = bpy.data.objects.new("sun", lamp)
    sun.rotation_euler = (math.radians(52), 0.0, math.radians(-25))
    scene.collection.objects.link(sun)


def _camera() -> Any:
    data = bpy.data.cameras.new("camera")
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = 36.0
    data.lens = timeline.FOCAL * 36.0 / timeline.WIDTH
    data.clip_start, data.clip_end = 0.05, 300.0
    camera = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    return camera


def _settings(quality: Quality) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = timeline.WIDTH, timeline.HEIGHT
    scene.render.resolution_percentage = quality.percent
    scene.render.threads_mode, scene.render.threads = "FIXED", quality.threads
    scene.render.use_persistent_data = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.compression = 30
    scene.render.filter_size = 1.3
    cycles = scene.cycles
    cycles.device, cycles.samples = "CPU", quality.samples
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.use_adaptive_sampling = False
    cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "BALANCED"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 1, 2
    cycles.transparent_max_bounces = 6
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 4.0
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = 0.35


def build(name: str, plan: Timeline, cache: Path, quality: Quality) -> dict[str, Any]:
    """Build a whole scene; return the size (3,) of each object by track id."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = SCENES[name]
    models = find([*scene.PLANTS, *(p.model for p in plan.placements)], cache)
    scene.build(models)
    sizes = {p.track_id: place(models[p.model], p) for p in plan.placements}
    _world()
    _camera()
    _settings(quality)
    return sizes


def dump_geometry(path: Path, sizes: dict[str, Any]) -> None:
    """Write an .npz with the world-frame triangles of every object and of the occluders.

    Keys: points_<label> (N, 3) metres, faces_<label> (M, 3), size_<track id> (3,).
    """
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    bpy.context.view_layer.update()
    for item in bpy.data.objects:
        label = item.get("truth")
        if item.type != "MESH" or label is None:
            continue
        item.data.calc_loop_triangles()
        faces = np.empty(len(item.data.loop_triangles) * 3, dtype=np.int32)
        item.data.loop_triangles.foreach_get("vertices", faces)
        matrix = np.array(item.matrix_world)
        points = vertices(item) @ matrix[:3, :3].T + matrix[:3, 3]
        groups.setdefault(label, []).append((points, faces.reshape(-1, 3)))
    arrays: dict[str, np.ndarray] = {f"size_{k}": np.asarray(v) for k, v in sizes.items()}
    for label, parts in groups.items():
        offsets = np.cumsum([0] + [len(p) for p, _ in parts])
        key = label.replace(":", "_")
        arrays[f"points_{key}"] = np.concatenate([p for p, _ in parts])
        arrays[f"faces_{key}"] = np.concatenate(
            [f + o for (_, f), o in zip(parts, offsets, strict=False)]
        )
    np.savez_compressed(path, **arrays)


def frame_path(folder: Path, frame: int) -> Path:
    """Return where a frame's image is kept."""
    return folder / f"{frame:04d}.png"


def coarse_to_fine(frames: list[int]) -> list[int]:
    """Return the frames in an order whose beginning already covers the whole sequence."""
    order: list[int] = []
    for step in (8, 4, 2, 1):
        order += [f for f in frames[::step] if f not in order]
    return order


def render(folder: Path, plan: Timeline, frames: list[int]) -> None:
    """Render those of the frames that are not there yet; a stopped run goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    scene, camera = bpy.context.scene, bpy.context.scene.camera
    for count, frame in enumerate(frames):
        target = frame_path(folder, frame)
        if target.exists():
            continue
        T_world_cam = np.linalg.inv(plan.T_cam_world(frame)) @ np.diag([1.0, -1, -1, 1])
        camera.matrix_world = [list(row) for row in T_world_cam.T]
        scene.cycles.seed = plan.seed + frame
        partial = target.with_name(target.stem + "_partial.png")
        scene.render.filepath = str(partial)
        bpy.ops.render.render(write_still=True)
        os.replace(partial, target)
        print(f"frame {frame} ({count + 1}/{len(frames)})", flush=True)
