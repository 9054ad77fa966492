# SPDX-License-Identifier: Apache-2.0
"""One object drawn before a photo: picture, mask and depth. 2 x 2 samples per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.raster import NEAR, rasterize
from nemo_model.synth import light
from nemo_model.synth.light import Lights, depth_map
from nemo_model.synth.model import Model

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

SAMPLES = 2


@dataclass(frozen=True)
class Drawing:
    """image (h, w, 3) uint8 RGB; mask (h, w) bool: more than half of the pixel is the object's.

    depth (h, w): z of the nearest surface at the pixel's centre in object units, 0 beside it.
    """

    image: Image
    mask: npt.NDArray[np.bool_]
    depth: Array


def draw(
    model: Model,
    T_cam_obj: Array,
    K: Array,
    background: Image,
    lights: Lights,
    shadow: float = 0.0,
    exposure: float = 1.0,
) -> Drawing:
    """Draw a model.

    Args:
        T_cam_obj: (4, 4), object units. K: (3, 3) in pixels, pixel centres at integers.
        background: (h, w, 3) uint8 RGB, the picture's size.
        shadow: how much of the background's light the object takes where it stands, 0 to 1.
        exposure: of the object's light.
    """
    height, width = background.shape[:2]
    R, eye = T_cam_obj[:3, :3].T, -T_cam_obj[:3, :3].T @ T_cam_obj[:3, 3]
    solid = model.points[~model.clear]
    sun = depth_map(solid, lights.sun, light.SUN_SIZE)
    sky = depth_map(solid, np.array([0.0, 0.0, 1.0]), light.SKY_SIZE)
    maps = (sun.depth, sun.P, sun.focal, sky.depth, sky.P, sky.focal)
    scene = to_linear(background)
    if shadow > 0.0:
        floor = float(model.points[..., 2].min())
        left = np.ones((-(-height // 2), -(-width // 2)))
        light.ground_light(R, eye, scaled(K, 0.5), floor, *maps, 0.6, left)
        left = np.asarray(cv2.resize(left, (width, height), interpolation=cv2.INTER_LINEAR))
        scene *= (1.0 - shadow + shadow * left)[..., None]
    mask, depth = np.zeros((height, width), dtype=bool), np.zeros((height, width))
    points = model.points @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]
    hull = model.hull @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]
    window = window_of(hull, K, width, height)
    if window is not None:
        x, y, w, h = window
        here = K - np.array([[0.0, 0.0, x], [0.0, 0.0, y], [0.0, 0.0, 0.0]])
        drawn, near = _object(model, points, R, eye, scaled(here, SAMPLES), w, h, lights, maps)
        part = scene[y : y + h, x : x + w]
        part *= 1.0 - drawn[..., 3:]
        part += exposure * drawn[..., :3]
        seen = np.isfinite(near).reshape(h, SAMPLES, w, SAMPLES).mean((1, 3)) > 0.5
        mask[y : y + h, x : x + w] = seen
        nearest = near.reshape(h, SAMPLES, w, SAMPLES).min((1, 3))
        depth[y : y + h, x : x + w] = np.where(seen, nearest, 0.0)
    return Drawing(to_srgb(scene), mask, depth)


def _object(
    model: Model, points: Array, R: Array, eye: Array, fine: Array, width: int, height: int,
    lights: Lights, maps: tuple[Array, Array, float, Array, Array, float],
) -> tuple[Array, Array]:  # fmt: skip
    """Linear colour and opacity (height, width, 4) of the object, and the fine grid's depths."""
    size = (SAMPLES * width, SAMPLES * height)
    out = np.zeros((size[1], size[0], 4))
    nearest = np.full((size[1], size[0]), np.inf)
    for layer in (~model.clear, model.clear):
        if not layer.any():
            continue
        corners = points[layer].reshape(-1, 3)
        faces = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
        face, bary, depth = rasterize(corners, faces, fine, *size)
        face[depth > nearest] = -1
        light.shade(
            face, bary, depth, model.normals[layer], model.uv[layer], model.material[layer],
            model.table, model.textures.pixels, model.textures.shapes, R, eye, fine, lights.sun,
            lights.sun_colour, lights.sky, lights.ground, lights.surroundings, *maps, out,
        )  # fmt: skip
        nearest = np.minimum(nearest, depth)
    small = cv2.resize(out, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small), nearest


def window_of(hull: Array, K: Array, width: int, height: int) -> tuple[int, int, int, int] | None:
    """x, y, width, height of what a hull (H, 3) covers of the picture; None: nothing."""
    uvw = hull @ K.T
    uv = uvw[:, :2] / np.maximum(uvw[:, 2:], NEAR)
    low = np.clip(np.floor(uv.min(0)) - 1, 0, [width, height]).astype(int)
    high = np.clip(np.ceil(uv.max(0)) + 2, 0, [width, height]).astype(int)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def scaled(K: Array, factor: float) -> Array:
    """K of a picture resized by a factor."""
    scaled = np.diag([factor, factor, 1.0]) @ K
    scaled[:2, 2] += (factor - 1.0) / 2.0
    return np.asarray(scaled)


def to_linear(image: Image) -> Array:
    """8 bit to linear light."""
    return np.asarray(_LINEAR[image])


def to_srgb(linear: Array) -> Image:
    """Linear light to 8 bit with a soft shoulder above 0.8."""
    place = np.minimum(linear * (_STEPS / _BRIGHT), _STEPS - 1.0)
    return np.asarray(_CODED[np.maximum(place, 0.0).astype(np.int32)])


_LINEAR = (np.arange(256) / 255.0) ** 2.2
_STEPS, _BRIGHT = 1 << 15, 3.0


def _coded() -> Image:
    x = (np.arange(_STEPS) + 0.5) * (_BRIGHT / _STEPS)
    x = np.where(x > 0.8, 0.8 + 0.2 * (1.0 - np.exp(-(x - 0.8) / 0.2)), x)
    return np.clip(255.0 * x ** (1.0 / 2.2) + 0.5, 0, 255).astype(np.uint8)


_CODED = _coded()
