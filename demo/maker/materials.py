# SPDX-License-Identifier: Apache-2.0
"""Cycles materials: car paint, tinted glass, metals, asphalt, pavers, plaster, brick."""

from __future__ import annotations

from typing import Any

import bpy

Colour = tuple[float, float, float]


def _new(name: str) -> tuple[Any, Any, Any]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes = material.node_tree.nodes
    return material, nodes, nodes["Principled BSDF"]


def plain(name: str, colour: Colour, roughness: float, metallic: float = 0.0,
          coat: float = 0.0) -> Any:  # fmt: skip
    """A uniform surface."""
    material, _, bsdf = _new(name)
    bsdf.inputs["Base Color"].default_value = (*colour, 1.0)
    bsdf.inputs["Roughness"].default_value = roughness
    bsdf.inputs["Metallic"].default_value = metallic
    bsdf.inputs["Coat Weight"].default_value = coat
    bsdf.inputs["Coat Roughness"].default_value = 0.03
    return material


def paint(name: str, colour: Colour, metallic: float = 0.55) -> Any:
    """Metallic car paint under a clear coat."""
    material, _, bsdf = _new(name)
    bsdf.inputs["Base Color"].default_value = (*colour, 1.0)
    bsdf.inputs["Metallic"].default_value = metallic
    bsdf.inputs["Roughness"].default_value = 0.38
    bsdf.inputs["Coat Weight"].default_value = 1.0
    bsdf.inputs["Coat Roughness"].default_value = 0.02
    return material


def glass(name: str, tint: Colour, dirt: float = 0.06) -> Any:
    """Thin tinted glass: transparent and mirror-like by Fresnel, no refraction, no caustics."""
    material, nodes, bsdf = _new(name)
    links = material.node_tree.links
    nodes.remove(bsdf)
    clear = nodes.new("ShaderNodeBsdfTransparent")
    clear.inputs["Color"].default_value = (*tint, 1.0)
    mirror = nodes.new("ShaderNodeBsdfGlossy")
    mirror.inputs["Roughness"].default_value = 0.01
    film = nodes.new("ShaderNodeBsdfDiffuse")
    film.inputs["Color"].default_value = (0.35, 0.35, 0.33, 1.0)
    fresnel = nodes.new("ShaderNodeFresnel")
    fresnel.inputs["IOR"].default_value = 1.55
    dusty, both = nodes.new("ShaderNodeMixShader"), nodes.new("ShaderNodeMixShader")
    dusty.inputs[0].default_value = dirt
    links.new(clear.outputs[0], dusty.inputs[1])
    links.new(film.outputs[0], dusty.inputs[2])
    links.new(fresnel.outputs[0], both.inputs[0])
    links.new(dusty.outputs[0], both.inputs[1])
    links.new(mirror.outputs[0], both.inputs[2])
    links.new(both.outputs[0], nodes["Material Output"].inputs["Surface"])
    return material


def _object_coordinates(material: Any) -> Any:
    nodes = material.node_tree.nodes
    found = nodes.get("Texture Coordinate") or nodes.new("ShaderNodeTexCoord")
    return found.outputs["Object"]


def _ramp(material: Any, source: Any, stops: list[tuple[float, Colour]]) -> Any:
    ramp = material.node_tree.nodes.new("ShaderNodeValToRGB")
    elements = ramp.color_ramp.elements
    while len(elements) < len(stops):
        elements.new(0.5)
    for element, (position, colour) in zip(elements, stops, strict=True):
        element.position, element.color = position, (*colour, 1.0)
    material.node_tree.links.new(source, ramp.inputs["Fac"])
    return ramp.outputs["Color"]


def _multiply(material: Any, a: Any, b: Any, factor: float = 1.0) -> Any:
    mix = material.node_tree.nodes.new("ShaderNodeMixRGB")
    mix.blend_type = "MULTIPLY"
    mix.inputs["Fac"].default_value = factor
    material.node_tree.links.new(a, mix.inputs[1])
    material.node_tree.links.new(b, mix.inputs[2])
    return mix.outputs[0]


def _noise(material: Any, scale: float, detail: float = 3.0) -> Any:
    noise = material.node_tree.nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value = scale
    noise.inputs["Detail"].default_value = detail
    material.node_tree.links.new(_object_coordinates(material), noise.inputs["Vector"])
    return noise.outputs["Fac"]


def asphalt() -> Any:
    """Worn asphalt: grain, and stains as large as cars. Few octaves: textures cost render time."""
    material, _, bsdf = _new("asphalt")
    grain = _ramp(
        material, _noise(material, 55.0, 1.0),
        [(0.3, (0.05, 0.05, 0.052)), (0.72, (0.17, 0.168, 0.16))],
    )  # fmt: skip
    stains = _ramp(material, _noise(material, 0.45, 2.0), [(0.35, (0.55,) * 3), (0.62, (1.0,) * 3)])
    colour = _multiply(material, grain, stains)
    material.node_tree.links.new(colour, bsdf.inputs["Base Color"])
    bsdf.inputs["Roughness"].default_value = 0.82
    return material


def bricks(name: str, a: Colour, b: Colour, mortar: Colour, width: float, height: float,
           gap: float = 0.012, swap: bool = False) -> Any:  # fmt: skip
    """Bricks or pavers of a size in metres; swap puts the courses along x-z (walls)."""
    material, nodes, bsdf = _new(name)
    links = material.node_tree.links
    brick = nodes.new("ShaderNodeTexBrick")
    brick.inputs["Scale"].default_value = 1.0
    brick.inputs["Brick Width"].default_value = width
    brick.inputs["Row Height"].default_value = height
    brick.inputs["Mortar Size"].default_value = gap
    for key, colour in (("Color1", a), ("Color2", b), ("Mortar", mortar)):
        brick.inputs[key].default_value = (*colour, 1.0)
    vector = _object_coordinates(material)
    if swap:
        parts, join = nodes.new("ShaderNodeSeparateXYZ"), nodes.new("ShaderNodeCombineXYZ")
        links.new(vector, parts.inputs[0])
        links.new(parts.outputs["X"], join.inputs["X"])
        links.new(parts.outputs["Z"], join.inputs["Y"])
        vector = join.outputs[0]
    links.new(vector, brick.inputs["Vector"])
    dirt = _ramp(material, _noise(material, 1.3, 1.0), [(0.3, (0.7,) * 3), (0.7, (1.0,) * 3)])
    links.new(_multiply(material, brick.outputs["Color"], dirt), bsdf.inputs["Base Color"])
    bsdf.inputs["Roughness"].default_value = 0.85
    return material


def plaster(name: str, colour: Colour) -> Any:
    """A rendered wall with rain streaks and patches."""
    material, _, bsdf = _new(name)
    links = material.node_tree.links
    light = _ramp(
        material, _noise(material, 0.8, 1.0),
        [(0.25, tuple(0.72 * c for c in colour)), (0.75, colour)],
    )  # fmt: skip
    links.new(light, bsdf.inputs["Base Color"])
    bsdf.inputs["Roughness"].default_value = 0.9
    return material


def picture(name: str, image: Any, roughness: float = 0.5) -> Any:
    """A surface that shows an image by its UV map."""
    material, nodes, bsdf = _new(name)
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    material.node_tree.links.new(texture.outputs["Color"], bsdf.inputs["Base Color"])
    bsdf.inputs["Roughness"].default_value = roughness
    return material


def as_foliage(material: Any) -> None:
    """Turn an imported plant's material matt, darker and less green than catalogues like it."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    bsdf = nodes.get("Principled BSDF")
    if bsdf is None:
        return
    bsdf.inputs["Roughness"].default_value = 0.7
    bsdf.inputs["Specular IOR Level"].default_value = 0.2
    colour = bsdf.inputs["Base Color"]
    if colour.links:
        source = colour.links[0].from_socket
        tone = nodes.new("ShaderNodeHueSaturation")
        tone.inputs["Saturation"].default_value = 0.78
        tone.inputs["Value"].default_value = 0.5
        links.new(source, tone.inputs["Color"])
        links.new(tone.outputs["Color"], colour)
