# SPDX-License-Identifier: Apache-2.0
"""What one picture shows, drawn by chance: view, camera, lights, colours, background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model import pose
from nemo_model.datasets.common import read_image
from nemo_model.synth.light import Lights
from nemo_model.synth.model import RED, SHININESS, SPECULAR, TEXTURE, Model

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


MOST_CUT = 0.35
"""Share of a box's width, and of its height, that an edge of the picture cuts off at most."""


@dataclass(frozen=True)
class Ranges:
    """What is drawn from. Angles in degrees, lengths in object units, the rest as said."""

    longest: int = 320  # pixels of the picture's longer side; the shorter is 70 to 100 % of it
    elevation: tuple[float, float] = (-10.0, 60.0)
    inplane: tuple[float, float] = (-15.0, 15.0)
    distance: tuple[float, float] = (1.2, 6.0)  # of the camera from the object's centre
    filled: tuple[float, float] = (0.35, 0.9)  # box's longer side, share of the picture's shorter
    cut: float = 0.1  # share of the pictures whose edge may cut the object
    recoloured: float = 0.5  # share of the pictures with colours that are not the model's
    patterned: float = 0.15  # share of the surfaces that take a piece of a photo, when recoloured
    stretched: float = 0.0  # each axis is scaled by exp(-stretched) to exp(stretched)


@dataclass(frozen=True)
class View:
    """Angles in radians, distance in object units, K (3, 3) of a (width, height) picture.

    The object's centre lies on the camera's axis, as PASCAL3D+ has it: K's principal point is where
    the picture shows it.
    """

    azimuth: float
    elevation: float
    theta: float
    distance: float
    K: Array
    width: int
    height: int

    @property
    def T_cam_obj(self) -> Array:
        """(4, 4), object units."""
        R = pose.rotation_from_angles(self.azimuth, self.elevation, self.theta)
        return pose.transform(R, np.array([0.0, 0.0, self.distance]))

    def project(self, points: Array) -> Array:
        """Pixels (N, 2) of points (N, 3) of the object."""
        T = self.T_cam_obj
        uvw = (points @ T[:3, :3].T + T[:3, 3]) @ self.K.T
        return np.asarray(uvw[:, :2] / uvw[:, 2:])


def draw_view(points: Array, ranges: Ranges, rng: np.random.Generator) -> View:
    """A view of an object with these points (N, 3): azimuths from all around.

    Elevations are even on the sphere between their limits, distances even in their logarithm.
    """
    aspect = rng.uniform(0.7, 1.0)
    longer, shorter = ranges.longest, round(ranges.longest * aspect)
    width, height = (longer, shorter) if rng.random() < 0.7 else (shorter, longer)
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    low, high = np.sin(np.radians(ranges.elevation))
    elevation = float(np.arcsin(rng.uniform(low, high)))
    spread = np.radians((ranges.inplane[1] - ranges.inplane[0]) / 2)
    theta = float(np.clip(0.4 * rng.normal(), -1.0, 1.0) * spread)
    theta += np.radians(sum(ranges.inplane) / 2)
    distance = float(np.exp(rng.uniform(*np.log(ranges.distance))))
    unit = View(azimuth, elevation, theta, distance, np.eye(3), width, height)
    box = _bounds(unit.project(points))
    cut = rng.random() < ranges.cut
    share = rng.uniform(*ranges.filled) * (1.3 if cut else 1.0)
    focal = share * shorter / float((box[2:] - box[:2]).max())
    span = focal * (box[2:] - box[:2])
    spare = np.array([width, height]) - 1.0 - span
    beyond = MOST_CUT * span if cut else np.zeros(2)
    corner = rng.uniform(0.02, 0.98, 2) * (spare + 2.0 * beyond) - beyond
    point = corner - focal * box[:2]
    K = np.array([[focal, 0.0, point[0]], [0.0, focal, point[1]], [0.0, 0.0, 1.0]])
    return View(azimuth, elevation, theta, distance, K, width, height)


def draw_stretch(extent: Array, symmetry: int, most: float, rng: np.random.Generator) -> Array:
    """Factors (3,) along the axes for a model of this extent (3,) and symmetry about z.

    One that looks the same from several sides stays so; where only its longer side tells them
    apart, as a table's, that side stays the longer one.
    """
    factors = np.exp(rng.uniform(-most, most, 3))
    if symmetry == 2:
        x, y = extent[:2]
        if (x > y) != (x * factors[0] > y * factors[1]):
            factors[:2] = factors[1::-1]
    elif symmetry != 1:
        factors[1] = factors[0]
    return factors


def _bounds(uv: Array) -> Array:
    return np.concatenate([uv.min(0), uv.max(0)])


def tight_box(points: Array, view: View) -> Array:
    """(x1, y1, x2, y2) in pixels of all points (N, 3), not cut at the picture's edge."""
    return _bounds(view.project(points))


def draw_background(
    photos: Sequence[Path], size: tuple[int, int], rng: np.random.Generator
) -> Image:
    """A (width, height) piece of one of the photos, perhaps mirrored; noise without photos."""
    width, height = size
    if not photos:
        coarse = rng.uniform(30, 225, (int(rng.integers(2, 8)), int(rng.integers(2, 8)), 3))
        smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        grain = cv2.resize(rng.normal(0, 12, (height // 3, width // 3)), size)
        return np.clip(smooth + grain[..., None], 0, 255).astype(np.uint8)
    photo = read_image(photos[int(rng.integers(len(photos)))])
    rows, columns = photo.shape[:2]
    most = min(columns / width, rows / height)
    scale = most * rng.uniform(0.5, 1.0)
    w, h = max(int(scale * width), 1), max(int(scale * height), 1)
    x, y = int(rng.integers(columns - w + 1)), int(rng.integers(rows - h + 1))
    cut = cv2.resize(photo[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cut[:, ::-1] if rng.random() < 0.5 else cut, dtype=np.uint8)


def draw_lights(background: Image, rng: np.random.Generator) -> Lights:
    """A sun from anywhere above and a sky, with the background's colours in the mirror images."""
    angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 1.0)
    flat = np.sqrt(1.0 - height * height)
    sun = np.array([flat * np.cos(angle), flat * np.sin(angle), height])
    around = cv2.resize(background, (32, 16), interpolation=cv2.INTER_AREA)
    around = (np.concatenate([around, around[:, ::-1]], axis=1) / 255.0) ** 2.2
    around = around * np.linspace(1.6, 0.6, 16)[:, None, None]
    tint = 1.0 + 0.12 * rng.uniform(-1, 1) * np.array([1.0, 0.0, -1.0])
    strong = rng.uniform(0.0, 1.3)
    sky = rng.uniform(0.35, 0.85) * (2.0 - tint)
    ambient = 0.6 + 0.4 * around.mean(axis=(0, 1)) / max(float(around.mean()), 1e-3)
    return Lights(sun, strong * tint, sky * ambient, rng.uniform(0.2, 0.6) * sky * ambient, around)


def recolour(model: Model, ranges: Ranges, photos: Sequence[Path], rng: np.random.Generator
               ) -> Model:  # fmt: skip
    """The model in other colours: all a little off; in a share of the pictures quite others.

    Returns the model with its table, and with pieces of photos among its textures.
    """
    table = model.table.copy()
    count = len(table)
    hues = rng.uniform(0.8, 1.25, 3) * np.exp(0.25 * rng.normal())
    table[:, RED : RED + 3] = np.clip(table[:, RED : RED + 3] * hues, 0.004, 1.0)
    table[:, SPECULAR] = np.clip(table[:, SPECULAR] * rng.uniform(0.3, 1.2), 0.0, 1.0)
    textures = model.textures
    if rng.random() < ranges.recoloured:
        base = rng.uniform(0.0, 1.0, (count, 3)) ** 2.2
        common = rng.uniform(0.0, 1.0, 3) ** 2.2
        mix = rng.uniform(0.0, 1.0, (count, 1))
        fresh = np.clip(mix * base + (1.0 - mix) * common, 0.01, 0.95)
        changed = rng.random(count) < 0.7
        table[changed, RED : RED + 3] = fresh[changed]
        table[changed, SPECULAR] = rng.uniform(0.0, 0.6, count)[changed]
        table[changed, SHININESS] = np.exp(rng.uniform(1.5, 5.0, count))[changed]
        plain = changed & (rng.random(count) < 0.5)
        keep_alpha = np.unique(model.material[model.clear])  # cut-outs are shape, not colour
        plain[keep_alpha] = False
        table[plain, TEXTURE] = -1.0
        pattern = changed & (rng.random(count) < ranges.patterned)
        pattern[keep_alpha] = False
        if photos and pattern.any():
            textures = textures.with_image(draw_background(photos, (128, 128), rng))
            table[pattern, TEXTURE] = len(textures.shapes) - 1
            table[pattern, RED : RED + 3] = 1.0
            model = model.box_mapped(np.flatnonzero(pattern), rng.uniform(1.0, 4.0))
    return model.with_surface(table, textures)


def photograph(image: Image, rng: np.random.Generator) -> Image:
    """Blur, noise, brightness and contrast of a camera."""
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9)).astype(np.float64)
    gain, shift = np.exp(0.12 * rng.normal()), 8.0 * rng.normal()
    noise = rng.normal(0.0, rng.uniform(0.5, 4.0), image.shape)
    return np.clip((soft - 128.0) * gain + 128.0 + shift + noise, 0, 255).astype(np.uint8)
