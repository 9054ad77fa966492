# SPDX-License-Identifier: Apache-2.0
"""Path tracing with Blender's Cycles, in an interpreter that has bpy. Imports bpy and numpy only.

Started by cycles_process.Worker. Says first, as a line of JSON, which Blender it has: {"blender":
"4.5.15"}. Then it reads jobs, each a line {"bytes": N} and N bytes of an npz, and answers each in
the same way, or with a line {"error": why}. It ends where its input ends.

A job (cycles.job makes it) holds, in the object frame, F triangles: points (F, 3, 3), normals
(F, 3, 3), uv (F, 3, 2), material (F,) rows of table (M, 8): linear colour, roughness, level of the
specular layer, weight of the coat, opacity, texture or -1; textures pixels (N, 4) float32 linear,
shapes (T, 3) as in materials.Textures. Light: sun (3,) direction to it, sun_colour, sky and ground
(3,) radiances of white surfaces in that light alone, surroundings (h, w, 3). Cameras T_cam_obj
(4, 4) with K (3, 3) and size (width, height) for the object, ground_K and ground_size for the
ground; floor: its z; albedo (3,). samples, seed, threads; with_ground, see_ground.

A result: object (h, w, 4), linear light times opacity, and opacity; ground (h, w, 4), the same of a
plane at z = floor beside which the object itself is not seen; empty without see_ground.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

GROUND = 8.0
"""Half the side of the ground, object units. Beyond it the sky's lower half looks the same."""
SUN_ANGLE = math.radians(1.5)
COAT_ROUGHNESS = 0.08
COAT_IOR = 1.79  # reflects 8 % at right angles


def main() -> int:
    """Answer jobs until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Blender prints must not come between the answers
    try:
        import bpy
    except ImportError as error:
        _say(answers, {"error": str(error)})
        return 1
    _say(answers, {"blender": bpy.app.version_string.split()[0]})
    with tempfile.TemporaryDirectory(prefix="nemo-cycles-") as folder:
        for line in sys.stdin.buffer:
            data = sys.stdin.buffer.read(json.loads(line)["bytes"])
            out = io.BytesIO()
            try:
                with np.load(io.BytesIO(data), allow_pickle=False) as job:
                    found = trace(bpy, {name: job[name] for name in job.files}, Path(folder))
                np.savez(out, **found)
            except Exception as error:  # the other side names the image
                _say(answers, {"error": f"{type(error).__name__}: {error}"})
            else:
                _say(answers, {"bytes": out.tell()}, out.getvalue())
    return 0


def _say(answers: Any, line: dict[str, Any], data: bytes = b"") -> None:
    answers.write(json.dumps(line).encode() + b"\n" + data)
    answers.flush()


def trace(bpy: Any, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Both pictures of a job."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    _settings(bpy, scene, job)
    _world(bpy, scene, job)
    _sun(bpy, scene, job)
    thing = _object(bpy, scene, job)
    ground = _ground(bpy, scene, job) if job["with_ground"] else None
    found = {"ground": np.zeros((0, 0, 4), np.float32)}
    if ground is not None:
        ground.visible_camera = False
    found["object"] = _picture(bpy, scene, job, job["K"], job["size"], folder)
    if ground is not None and job["see_ground"]:
        ground.visible_camera, thing.visible_camera = True, False
        scene.cycles.samples = max(int(job["samples"]) // 2, 1)  # shadows are smooth
        found["ground"] = _picture(bpy, scene, job, job["ground_K"], job["ground_size"], folder)
    return found


def _settings(bpy: Any, scene: Any, job: dict[str, Any]) -> None:
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples, cycles.seed = int(job["samples"]), int(job["seed"])
    cycles.use_adaptive_sampling = False
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    cycles.denoising_use_gpu = False
    cycles.pixel_filter_type = "BOX"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 2
    cycles.transparent_max_bounces = 32
    cycles.sample_clamp_indirect = 4.0
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.render.film_transparent = True
    scene.render.threads_mode, scene.render.threads = "FIXED", int(job["threads"])
    image = scene.render.image_settings
    image.file_format, image.color_mode, image.color_depth = "OPEN_EXR", "RGBA", "32"
    scene.render.use_compositing = scene.render.use_sequencer = False


def _world(bpy: Any, scene: Any, job: dict[str, Any]) -> None:
    """Sky above and the ground's light below for surfaces, the surroundings for mirrors."""
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    world.cycles.sampling_method = "NONE"  # it is even: nothing to look for in it
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    place = nodes.new("ShaderNodeTexCoord")
    parts = nodes.new("ShaderNodeSeparateXYZ")
    links.new(place.outputs["Generated"], parts.inputs[0])
    above = _math(nodes, links, "GREATER_THAN", parts.outputs["Z"], 0.0)
    even = nodes.new("ShaderNodeMix")
    even.data_type = "RGBA"
    links.new(above, even.inputs["Factor"])
    even.inputs[6].default_value = (*job["ground"].tolist(), 1.0)
    even.inputs[7].default_value = (*job["sky"].tolist(), 1.0)
    # column and row as light.shade has them: by azimuth and by height, not by angle
    turn = _math(nodes, links, "ARCTAN2", parts.outputs["Y"], parts.outputs["X"])
    column = _math(nodes, links, "MULTIPLY_ADD", turn, 0.5 / math.pi, 0.5)
    row = _math(nodes, links, "MULTIPLY_ADD", parts.outputs["Z"], 0.5, 0.5)
    at = nodes.new("ShaderNodeCombineXYZ")
    links.new(column, at.inputs["X"])
    links.new(row, at.inputs["Y"])
    around = nodes.new("ShaderNodeTexImage")
    around.extension, around.interpolation = "EXTEND", "Linear"
    pixels = job["surroundings"]
    opaque = np.ones_like(pixels[..., :1])
    around.image = _image(bpy, "surroundings", np.concatenate([pixels, opaque], axis=2))
    links.new(at.outputs[0], around.inputs["Vector"])
    path = nodes.new("ShaderNodeLightPath")
    either = nodes.new("ShaderNodeMix")
    either.data_type = "RGBA"
    links.new(path.outputs["Is Glossy Ray"], either.inputs["Factor"])
    links.new(even.outputs[2], either.inputs[6])
    links.new(around.outputs["Color"], either.inputs[7])
    light, out = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
    links.new(either.outputs[2], light.inputs["Color"])
    links.new(light.outputs[0], out.inputs["Surface"])


def _sun(bpy: Any, scene: Any, job: dict[str, Any]) -> None:
    from mathutils import Vector

    strength = float(job["sun_colour"].max())
    if strength <= 0.0:
        return
    data = bpy.data.lights.new("sun", "SUN")
    data.energy = math.pi * strength  # a white surface sends out irradiance / pi
    data.color = (job["sun_colour"] / strength).tolist()
    data.angle = SUN_ANGLE
    sun = bpy.data.objects.new("sun", data)
    sun.rotation_mode = "QUATERNION"
    sun.rotation_quaternion = Vector(job["sun"].tolist()).to_track_quat("Z", "Y")
    scene.collection.objects.link(sun)


def _object(bpy: Any, scene: Any, job: dict[str, Any]) -> Any:
    points = job["points"].reshape(-1, 3).astype(np.float32)
    count = len(points)
    mesh = bpy.data.meshes.new("object")
    mesh.vertices.add(count)
    mesh.vertices.foreach_set("co", points.ravel())
    mesh.loops.add(count)
    mesh.loops.foreach_set("vertex_index", np.arange(count, dtype=np.int32))
    mesh.polygons.add(count // 3)
    mesh.polygons.foreach_set("loop_start", np.arange(0, count, 3, dtype=np.int32))
    mesh.polygons.foreach_set("material_index", job["material"].astype(np.int32))
    layer = mesh.uv_layers.new(name="uv")
    layer.uv.foreach_set("vector", job["uv"].astype(np.float32).ravel())
    mesh.update()
    mesh.polygons.foreach_set("use_smooth", np.ones(count // 3, dtype=bool))
    mesh.normals_split_custom_set(job["normals"].reshape(-1, 3).tolist())
    images = {}
    for number, (at, height, width) in enumerate(job["shapes"].tolist()):
        pixels = job["pixels"][at : at + height * width].reshape(height, width, 4)
        images[number] = _image(bpy, f"texture {number}", pixels)
    for number, row in enumerate(job["table"].tolist()):
        mesh.materials.append(_material(bpy, f"material {number}", row, images))
    thing = bpy.data.objects.new("object", mesh)
    scene.collection.objects.link(thing)
    return thing


def _material(bpy: Any, name: str, row: list[float], images: dict[int, Any]) -> Any:
    """Diffuse with a specular layer and a clear coat; glass keeps its mirror images."""
    *colour, roughness, specular, coat, opacity, texture = row
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    surface = nodes.new("ShaderNodeBsdfPrincipled")
    surface.inputs["Base Color"].default_value = (*colour, 1.0)
    surface.inputs["Roughness"].default_value = roughness
    surface.inputs["Specular IOR Level"].default_value = specular
    surface.inputs["Coat Weight"].default_value = coat
    surface.inputs["Coat Roughness"].default_value = COAT_ROUGHNESS
    surface.inputs["Coat IOR"].default_value = COAT_IOR
    last = surface.outputs[0]
    clear = nodes.new("ShaderNodeBsdfTransparent").outputs[0]
    if opacity < 1.0:
        last = _mixed(nodes, links, opacity, clear, last)
        mirror = nodes.new("ShaderNodeBsdfGlossy")
        mirror.inputs["Roughness"].default_value = COAT_ROUGHNESS
        angle = nodes.new("ShaderNodeFresnel")
        angle.inputs["IOR"].default_value = COAT_IOR
        share = _math(nodes, links, "MULTIPLY", angle.outputs[0], coat * (1.0 - opacity))
        last = _mixed(nodes, links, share, last, mirror.outputs[0])
    if texture >= 0:
        picture = nodes.new("ShaderNodeTexImage")
        picture.image, picture.extension = images[int(texture)], "REPEAT"
        tint = nodes.new("ShaderNodeMix")
        tint.data_type, tint.blend_type = "RGBA", "MULTIPLY"
        tint.inputs["Factor"].default_value = 1.0
        links.new(picture.outputs["Color"], tint.inputs[6])
        tint.inputs[7].default_value = (*colour, 1.0)
        links.new(tint.outputs[2], surface.inputs["Base Color"])
        last = _mixed(nodes, links, picture.outputs["Alpha"], clear, last)
    links.new(last, nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    return made


def _ground(bpy: Any, scene: Any, job: dict[str, Any]) -> Any:
    z = float(job["floor"])
    corners = [(x * GROUND, y * GROUND, z) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    mesh = bpy.data.meshes.new("ground")
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    made = bpy.data.materials.new("ground")
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    surface = nodes.new("ShaderNodeBsdfDiffuse")
    surface.inputs["Color"].default_value = (*job["albedo"].tolist(), 1.0)
    links.new(surface.outputs[0], nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    mesh.materials.append(made)
    ground = bpy.data.objects.new("ground", mesh)
    scene.collection.objects.link(ground)
    return ground


def _picture(bpy: Any, scene: Any, job: dict[str, Any], K: Any, size: Any, folder: Path) -> Any:
    """What a camera sees: (h, w, 4) float32, rows from above."""
    from mathutils import Matrix

    width, height = (int(n) for n in size)
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", 36.0
    data.lens = float(K[0, 0]) * 36.0 / width
    data.shift_x = (width / 2.0 - (float(K[0, 2]) + 0.5)) / width  # pixel centres at integers
    data.shift_y = ((float(K[1, 2]) + 0.5) - height / 2.0) / width
    data.clip_start, data.clip_end = 1e-3, 1e3
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    # Blender's cameras look along -z with y up, OpenCV's along z with y down
    camera.matrix_world = Matrix(
        (np.linalg.inv(job["T_cam_obj"]) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()
    )
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    path = folder / "picture.exr"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path), check_existing=False)
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1]


def _image(bpy: Any, name: str, pixels: Any) -> Any:
    """An image of linear light (h, w, 4), rows from above."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=True, is_data=True)
    image.alpha_mode = "CHANNEL_PACKED"
    image.pixels.foreach_set(np.ascontiguousarray(pixels[::-1], dtype=np.float32).ravel())
    image.update()
    return image


def _math(nodes: Any, links: Any, kind: str, *values: Any) -> Any:
    node = nodes.new("ShaderNodeMath")
    node.operation = kind
    for value, entry in zip(values, node.inputs, strict=False):
        if isinstance(value, float):
            entry.default_value = value
        else:
            links.new(value, entry)
    return node.outputs[0]


def _mixed(nodes: Any, links: Any, share: Any, first: Any, second: Any) -> Any:
    node = nodes.new("ShaderNodeMixShader")
    if isinstance(share, float):
        node.inputs[0].default_value = share
    else:
        links.new(share, node.inputs[0])
    links.new(first, node.inputs[1])
    links.new(second, node.inputs[2])
    return node.outputs[0]


if __name__ == "__main__":
    sys.exit(main())
