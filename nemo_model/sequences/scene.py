# SPDX-License-Identifier: Apache-2.0
"""Objects on the street, rendered: colours with 2 x 2 samples per pixel, and the ground truth.

Takes the models of the shipped recording (see assets); everything else is generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError
from nemo_model.raster import rasterize
from nemo_model.sequences import shading
from nemo_model.sequences.wavefront import Soup, read_obj

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

SAMPLES = 2
DECAL = 0.03
"""How far behind the surface, in metres, a textured decal may lie and still be seen."""

# albedo, coat, sharpness of the sun's mirror image, metal, textured
_PAINT = (0.0, 0.0, 0.0, 0.05, 180.0, 0.0, 0.0)
_DARK = (0.012, 0.012, 0.013, 0.03, 12.0, 0.0, 0.0)
_GLASS = (0.015, 0.018, 0.018, 0.07, 300.0, 0.0, 0.0)
_RUBBER = (0.016, 0.016, 0.016, 0.0, 1.0, 0.0, 0.0)
_CHROME = (0.75, 0.75, 0.76, 0.0, 1.0, 1.0, 0.0)
_ALLOY = (0.35, 0.36, 0.37, 0.1, 20.0, 0.3, 0.0)
_RED = (0.35, 0.01, 0.01, 0.05, 100.0, 0.0, 0.0)
_WHITE = (0.6, 0.6, 0.58, 0.05, 100.0, 0.0, 0.0)
_DECAL = (1.0, 1.0, 1.0, 0.03, 30.0, 0.0, 1.0)
_SURFACES: Mapping[str, tuple[float, ...]] = {
    "carPaint": _PAINT, "firstcolor": _PAINT,
    "black_glossy": _DARK, "black_rubber": _RUBBER, "tires": _RUBBER,
    "gray_darkMatte": _DARK, "blackplastics": _DARK, "lowparts": _DARK, "holes": _RUBBER,
    "doorlines": _RUBBER, "interior": _RUBBER,
    "chrome": _CHROME, "chromes": _CHROME, "sweethome3d_window_mirror": _CHROME,
    "chrome_dark": _ALLOY, "chrome_matte": _ALLOY, "yellow_chrome": _ALLOY,
    "glass": _GLASS, "glass_red": _RED, "white": _WHITE, "textured": _DECAL,
}  # fmt: skip
PAINTS: Mapping[str, tuple[float, float, float]] = {
    "focus": (0.022, 0.075, 0.22),
    "suv": (0.33, 0.028, 0.022),
}


@dataclass(frozen=True)
class Model:
    """A car in metres: z up, front at -y, origin at the centre of its bounding box.

    Attributes:
        soup: its triangles.
        table: (M, 7) of its materials, see shading.shade.
        texture: (n, m, 4) linear RGBA.
        size: (3,) extents along x, y, z, metres.
    """

    soup: Soup
    table: Array
    texture: Array
    size: Array


@dataclass(frozen=True)
class Placed:
    """A car in the world. T_world_obj (4, 4), metres."""

    model: Model
    T_world_obj: Array


@dataclass(frozen=True)
class Block:
    """An upright box that hides things. low, high: (3,) corners in the world, metres."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    colour: tuple[float, float, float] = (0.42, 0.40, 0.36)


@dataclass(frozen=True)
class View:
    """What a camera sees.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        boxes: (N, 4) amodal boxes of the cars, pixels, not cut at the image's edge.
        hidden: (N,) share of each car's silhouette, inside the image, that something covers.
        inside: (N,) share of each box that lies inside the image.
    """

    image: Image
    boxes: Array
    hidden: Array
    inside: Array = field(default_factory=lambda: np.zeros(0))


def load_model(path: Path, name: str, length: float) -> Model:
    """Read a car's OBJ, centre it and scale it to its length.

    Raises:
        NemoError: when a file cannot be read.
    """
    soup = read_obj(path)
    low, high = soup.points.min((0, 1)), soup.points.max((0, 1))
    scale = length / (high - low)[1]
    points = (soup.points - (low + high) / 2) * scale
    table = np.array([_SURFACES.get(entry, _DARK) for entry in soup.names])
    for row, entry in enumerate(soup.names):
        if _SURFACES.get(entry) is _PAINT:
            table[row, :3] = PAINTS[name]
    texture = np.ones((1, 1, 4))
    if "textured" in soup.names:
        found = sorted(path.parent.glob("*.png"))
        data = cv2.imread(str(found[0]), cv2.IMREAD_UNCHANGED) if found else None
        if data is None:
            raise NemoError(f"{path.parent}: the texture (.png) is missing or cannot be read")
        texture = np.ones((*data.shape[:2], 4))
        texture[..., : data.shape[2]] = data[..., [2, 1, 0, 3][: data.shape[2]]] / 255.0
        texture[..., :3] **= 2.2
    moved = Soup(points, soup.normals, soup.uv, soup.material, soup.names)
    return Model(moved, table, texture, (high - low) * scale)


def standing(model: Model, xy: Sequence[float], yaw: float) -> Placed:
    """A car on the ground; yaw in radians about z."""
    c, s = np.cos(yaw), np.sin(yaw)
    T = np.eye(4)
    T[:3, :3] = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
    T[:3, 3] = (xy[0], xy[1], model.size[2] / 2)
    return Placed(model, T)


def render(
    cars: Sequence[Placed],
    blocks: Sequence[Block],
    T_cam_world: Array,
    K: Array,
    size: tuple[int, int],
    seed: int,
) -> View:
    """Render a frame.

    Args:
        T_cam_world: (4, 4), OpenCV camera frame.
        K: (3, 3). size: (width, height) in pixels.
        seed: of the street's look.
    """
    width, height = size
    W, H = SAMPLES * width, SAMPLES * height
    fine = np.diag([SAMPLES, SAMPLES, 1.0]) @ K
    fine[:2, 2] += (SAMPLES - 1) / 2
    parts = [_car(one) for one in cars]
    walls = [_block(one) for one in blocks]
    depths = [
        [rasterize(_move(p, T_cam_world), _faces(len(p)), fine, W, H) for p in (plain, decal)]
        for plain, decal in ((part.points[~part.decal], part.points[part.decal]) for part in parts)
    ]
    wall_depths = [
        rasterize(_move(part.points, T_cam_world), _faces(len(part.points)), fine, W, H)
        for part in walls
    ]
    L, shadow = _shadow([p.points for p in (*parts, *walls)], cars)
    R, eye = T_cam_world[:3, :3].T, -T_cam_world[:3, :3].T @ T_cam_world[:3, 3]
    out = np.zeros((H, W, 4))
    layers = [
        (part, mask, result, model)
        for part, pair, model in zip(parts, depths, cars, strict=True)
        for mask, result in zip((~part.decal, part.decal), pair, strict=True)
    ]
    nothing = np.full((H, W), -1, np.int32)
    empty = np.zeros((H, W, 4))
    shading.shade(
        nothing, empty, np.zeros((1, 3, 3)), np.zeros((1, 3, 2)), np.zeros(1, np.int32),
        np.zeros((1, 7)), np.ones((1, 1, 4)), R, eye, fine, shadow, L, seed, out,
    )  # fmt: skip
    nearest = np.full((H, W), np.inf)
    everything = [
        *((p, m, r, c.model.table, c.model.texture) for p, m, r, c in layers),
        *(
            (p, np.ones(len(p.points), bool), r, p.table, np.ones((1, 1, 4)))
            for p, r in zip(walls, wall_depths, strict=True)
        ),
    ]
    for part, mask, (face, bary, depth), table, texture in everything:
        slack = DECAL if part.decal.any() and mask is not None and part.decal[mask].all() else 0.0
        front = np.where(depth < nearest + slack, face, -1).astype(np.int32)
        if (front < 0).all():
            continue
        four = np.concatenate([bary, depth[..., None]], axis=2)
        layer = np.zeros((H, W, 4))
        shading.shade(
            front, four, part.normals[mask], part.uv[mask], part.material[mask], table, texture,
            R, eye, fine, shadow, L, -seed - 1, layer,
        )  # fmt: skip
        drawn = (layer[..., 3] > 0.5) & (front >= 0)
        out[drawn] = layer[drawn]
        nearest = np.where(drawn, np.minimum(depth, nearest), nearest)
    image = cv2.resize(out[..., :3], (width, height), interpolation=cv2.INTER_AREA)
    own = [np.minimum(plain[2], decal[2]) for plain, decal in depths]
    return View(
        shading.picture(np.asarray(image)), *_truth(parts, own, wall_depths, T_cam_world, K, size)
    )


@dataclass(frozen=True)
class _Part:
    """World triangles (F, 3, 3) with what shading needs; decal (F,): textured ones."""

    points: Array
    normals: Array
    uv: Array
    material: npt.NDArray[np.int32]
    decal: npt.NDArray[np.bool_]
    table: Array


def _car(car: Placed) -> _Part:
    soup, T = car.model.soup, car.T_world_obj
    decal = car.model.table[soup.material, 6] > 0.0
    return _Part(
        soup.points @ T[:3, :3].T + T[:3, 3],
        soup.normals @ T[:3, :3].T,
        soup.uv,
        soup.material,
        decal,
        car.model.table,
    )


def _block(block: Block) -> _Part:
    low, high = np.array(block.low), np.array(block.high)
    corners = np.array([[(low, high)[(i >> a) & 1][a] for a in range(3)] for i in range(8)])
    quads = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))
    faces = [(q[0], q[k], q[k + 1]) for q in quads for k in (1, 2)]
    points = corners[np.array(faces)]
    normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    table = np.array([[*block.colour, 0.02, 8.0, 0.0, 0.0]])
    count = len(points)
    return _Part(
        points,
        np.repeat(normal[:, None], 3, axis=1),
        np.zeros((count, 3, 2)),
        np.zeros(count, np.int32),
        np.zeros(count, bool),
        table,
    )


def _move(points: Array, T: Array) -> Array:
    return np.asarray(points.reshape(-1, 3) @ T[:3, :3].T + T[:3, 3])


def _faces(count: int) -> npt.NDArray[np.int32]:
    return np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def _shadow(points: Sequence[Array], cars: Sequence[Placed]) -> tuple[Array, Array]:
    centre = np.mean([car.T_world_obj[:3, 3] for car in cars], axis=0) if cars else np.zeros(3)
    L, K = shading.sun_camera(centre)
    every = np.concatenate([p.reshape(-1, 3) for p in points]) if points else np.zeros((3, 3))
    moved = every @ L[:, :3].T + L[:, 3]
    size = shading.SHADOW_SIZE
    return L, rasterize(moved, _faces(len(moved) // 3), K, size, size)[2]


def _truth(
    parts: Sequence[_Part],
    own: Sequence[Array],
    walls: Sequence[tuple[npt.NDArray[np.int32], Array, Array]],
    T_cam_world: Array,
    K: Array,
    size: tuple[int, int],
) -> tuple[Array, Array, Array]:
    boxes, hidden, inside = [], [], []
    for index, part in enumerate(parts):
        points = _move(part.points, T_cam_world)
        uv = (points @ K.T)[:, :2] / np.maximum(points[:, 2:], 1e-3)
        box = np.concatenate([uv.min(0), uv.max(0)])
        others = [d for k, d in enumerate(own) if k != index] + [w[2] for w in walls]
        nearer = np.min(others, axis=0) if others else np.full(own[index].shape, np.inf)
        mine = np.isfinite(own[index])
        hidden.append(
            (mine & (nearer < own[index])).sum() / max(mine.sum(), 1) if mine.any() else 1.0
        )
        low = np.maximum(box[:2], -0.5)
        high = np.minimum(box[2:], np.array(size) - 0.5)
        inside.append(np.prod(np.maximum(high - low, 0.0)) / np.prod(box[2:] - box[:2]))
        boxes.append(box)
    return np.array(boxes), np.array(hidden, dtype=float), np.array(inside)
