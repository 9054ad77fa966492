# SPDX-License-Identifier: Apache-2.0
"""A model whose answers are known: a coloured cuboid, and a backbone that reads its colours.

Every point of the cuboid has a colour of its own (its direction from the centre). The backbone is a
few ONNX nodes: the mean colour of the 9 x 9 pixels around pixel (8 j + 7, 8 i + 7), turned into a
unit feature by random waves, so that near colours have near features and far ones do not. With the
vertices' colours as vertex features the whole way from an image to a metric pose can be tested
against a true pose, without training and without files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nemo_model.bundle import Bundle, Card, SizePrior, write_bundle
from nemo_model.camera import Camera
from nemo_model.mesh import Mesh, cuboid, mean_outline
from nemo_model.raster import rasterize

CHANNELS = 16
GREY, CONTRAST = 128.0, 100.0
LENGTH = 0.25
"""Distance, in colours between -1 and 1, over which features change."""
METRES_PER_UNIT = 5.0
SIZE = np.array([0.4, 0.86, 0.32])


def mesh(n: int = 800) -> Mesh:
    """A car-sized cuboid in object units."""
    return cuboid(-SIZE / 2, SIZE / 2, n)


def colours(points: np.ndarray) -> np.ndarray:
    """Colours (N, 3) in 28 .. 228 of points (N, 3) of the object: their direction."""
    towards = points / (SIZE / 2)
    return np.asarray(GREY + CONTRAST * towards / np.linalg.norm(towards, axis=1, keepdims=True))


def waves(channels: int = CHANNELS) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's weights (C, 3) and phases (C,)."""
    rng = np.random.default_rng(7)
    return rng.normal(size=(channels, 3)) / LENGTH, rng.uniform(0.0, 2 * np.pi, channels)


def features_of(colour: np.ndarray) -> np.ndarray:
    """What the backbone makes of colours (N, 3): unit features (N, C) float32."""
    weight, phase = waves()
    raw = np.cos((colour - GREY) / CONTRAST @ weight.T + phase)
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def clutter() -> np.ndarray:
    """Features (3, C) of grey, of black and of white, which no point of the object has."""
    return features_of(np.array([[128.0] * 3, [0.0] * 3, [255.0] * 3]))


def backbone(channels: int = CHANNELS) -> bytes:
    """The ONNX file: uint8 (B, H, W, 3) RGB -> float32 (B, H/8, W/8, channels)."""
    mean = np.zeros((1, 1, 12, 12), dtype=np.float32)
    mean[:, :, 3:, 3:] = 1.0 / 81 / CONTRAST  # rows 8 i + 3 .. 8 i + 11: centred on 8 i + 7
    weight, phase = waves(channels)
    constants = {
        "weight": (weight[:, :, None, None] * mean).astype(np.float32),
        "phase": phase.astype(np.float32),
        "grey": np.float32(GREY),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "grey"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv", ["nchw", "weight", "phase"], ["angle"], strides=[8, 8], pads=[0, 0, 4, 4]
        ),
        helper.make_node("Cos", ["angle"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["unit"], axis=1, p=2),
        helper.make_node("Transpose", ["unit"], ["features"], perm=[0, 2, 3, 1]),
    ]
    shape_in, shape_out = ["batch", "rows", "cols", 3], ["batch", "h", "w", channels]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape_in)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def card(**changes: Any) -> Card:
    """A complete card."""
    fields: dict[str, Any] = {
        "name": "tiny", "category": "car", "width": 192, "height": 128, "features": CHANNELS,
        "size": SizePrior(length_m=METRES_PER_UNIT * SIZE[1], sigma=0.1, source="made up"),
        "data": "none", "split": "none", "seed": 0, "command": "none", "licence": "Apache-2.0",
        "training": {}, "sha256": {},
    }  # fmt: skip
    return Card(**(fields | changes))


def write(folder: Path, **changes: Any) -> Path:
    """Write a bundle; changes to mesh, features, clutter, outline, backbone or to the card."""
    shape = changes.pop("mesh", mesh())
    parts = {
        "features": features_of(colours(mesh().vertices)),
        "clutter": clutter(),
        "outline": mean_outline([mesh()]),
    }
    parts |= {name: changes.pop(name) for name in list(changes) if name in parts}
    onnx_file = changes.pop("backbone", None) or backbone()
    write_bundle(Bundle(folder, card(**changes), shape, **parts), onnx_file)
    return folder


def photo(
    camera: Camera, T_cam_obj: np.ndarray, seed: int = 0, noise: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 of the cuboid before a grey wall, and its box (4,).

    T_cam_obj is metric. The box ends at the image's edge, as a detector's does.
    """
    shape = mesh(200)
    points = METRES_PER_UNIT * shape.vertices @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]
    size = (camera.width, camera.height)
    face, bary, _ = rasterize(points, shape.faces, camera.K, *size)
    image = np.full((camera.height, camera.width, 3), GREY)
    seen = face >= 0
    surface = np.einsum("nk,nkd->nd", bary[seen], shape.vertices[shape.faces[face[seen]]])
    image[seen] = colours(surface)
    image += np.random.default_rng(seed).normal(0.0, noise, image.shape)
    uv = camera.project(points)
    box = np.clip([*uv.min(axis=0), *uv.max(axis=0)], 0.0, np.array([*size, *size]) - 1.0)
    return np.clip(np.round(image), 0, 255).astype(np.uint8), box
