# SPDX-License-Identifier: Apache-2.0
"""Light on surfaces, in numba: a sun with shadow, a sky that things hide, mirror images, textures.

Everything is in the object frame, light and colours are linear. Surfaces are Lambertian with
Phong's highlight and a clear coat (Schlick's approximation of Fresnel's term).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from nemo_model.raster import rasterize

Array = npt.NDArray[np.float64]

SUN_SIZE, SKY_SIZE = 384, 192
"""Pixels of the depth maps from the sun and from above."""
FAR = 60.0
"""Distance of their cameras from the object, units."""
SPAN = 1.1
"""Width of what they see, units: the object's bounding sphere and a little more."""


@dataclass(frozen=True)
class Lights:
    """sun (3,) direction to it; sun_colour, sky, ground (3,) linear light.

    surroundings: (h, w, 3) linear, what mirrors show: rows from up to down, columns all around.
    """

    sun: Array
    sun_colour: Array
    sky: Array
    ground: Array
    surroundings: Array


@dataclass(frozen=True)
class DepthMap:
    """What one direction sees of an object. depth (n, n); P (3, 4) to its camera; focal: pixels."""

    depth: Array
    P: Array
    focal: float


def depth_map(points: Array, direction: Array, size: int) -> DepthMap:
    """The depths of triangles (F, 3, 3), seen from a direction (3,), as from very far."""
    forward = -direction / np.linalg.norm(direction)
    side = np.array([1.0, 0.0, 0.0]) if abs(forward[2]) > 0.9 else np.array([0.0, 0.0, 1.0])
    right = np.cross(forward, side)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    P = np.concatenate([R, [[0.0], [0.0], [FAR]]], axis=1)
    focal, middle = FAR * size / SPAN, (size - 1) / 2.0
    K = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
    moved = points.reshape(-1, 3) @ R.T + P[:, 3]
    faces = np.arange(len(moved), dtype=np.int32).reshape(-1, 3)
    return DepthMap(rasterize(moved, faces, K, size, size)[2], P, focal)


@numba.njit(cache=True)
def _free(x, y, z, depth, P, focal, step, slack):  # type: ignore[no-untyped-def]
    """Share of a map's direction that a point sees: 5 x 5 samples, `step` pixels apart."""
    lx = P[0, 0] * x + P[0, 1] * y + P[0, 2] * z + P[0, 3]
    ly = P[1, 0] * x + P[1, 1] * y + P[1, 2] * z + P[1, 3]
    lz = P[2, 0] * x + P[2, 1] * y + P[2, 2] * z + P[2, 3]
    middle = (depth.shape[0] - 1) / 2.0
    j = math.floor(focal * lx / lz + middle + 0.5)
    i = math.floor(focal * ly / lz + middle + 0.5)
    free = 0
    for di in range(-2, 3):
        for dj in range(-2, 3):
            a, b = i + step * di, j + step * dj
            inside = 0 <= a < depth.shape[0] and 0 <= b < depth.shape[1]
            if not inside or depth[a, b] > lz - slack:
                free += 1
    return free / 25.0


@numba.njit(cache=True)
def _around(dx, dy, dz, surroundings, out):  # type: ignore[no-untyped-def]
    """What lies in a direction."""
    h, w = surroundings.shape[0], surroundings.shape[1]
    i = min(int((0.5 - 0.5 * dz) * h), h - 1)
    j = min(int((math.atan2(dy, dx) / (2.0 * math.pi) + 0.5) * w), w - 1)
    for c in range(3):
        out[c] = surroundings[i, j, c]


@numba.njit(cache=True)
def shade(  # type: ignore[no-untyped-def]
    face, bary, depth, normals, uv, material, table, pixels, shapes, R, eye, K,
    sun, sun_colour, sky, ground, surroundings, sun_map, sun_P, sun_focal, sky_map, sky_P,
    sky_focal, out,
):  # fmt: skip
    """Fill `out` (h, w, 4): linear colour times opacity, and opacity, of a rasteriser's fragments.

    Args:
        face, bary, depth: fragments; with face -1 `out` is left as it is.
        normals (F, 3, 3), uv (F, 3, 2), material (F,), table (M, 7): see Model.
        pixels, shapes: see Textures.
        R, eye: camera to object (3, 3), (3,). K (3, 3): of the grid.
        sun to surroundings: see Lights. sun_map to sky_focal: two DepthMaps.
    """
    height, width = face.shape
    mirror = np.zeros(3)
    colour = np.zeros(3)
    for i in range(height):
        for j in range(width):
            k = face[i, j]
            if k < 0:
                continue
            x, y = (j - K[0, 2]) / K[0, 0], (i - K[1, 2]) / K[1, 1]
            dx = R[0, 0] * x + R[0, 1] * y + R[0, 2]
            dy = R[1, 0] * x + R[1, 1] * y + R[1, 2]
            dz = R[2, 0] * x + R[2, 1] * y + R[2, 2]
            d = depth[i, j]
            px, py, pz = eye[0] + d * dx, eye[1] + d * dy, eye[2] + d * dz
            n = math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx / n, dy / n, dz / n
            nx = ny = nz = s = t = 0.0
            for m in range(3):
                w = bary[i, j, m]
                nx += w * normals[k, m, 0]
                ny += w * normals[k, m, 1]
                nz += w * normals[k, m, 2]
                s += w * uv[k, m, 0]
                t += w * uv[k, m, 1]
            n = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            nx, ny, nz = nx / n, ny / n, nz / n
            facing = -(dx * nx + dy * ny + dz * nz)
            if facing < 0.0:
                nx, ny, nz, facing = -nx, -ny, -nz, -facing
            row = material[k]
            opacity = table[row, 5]
            for c in range(3):
                colour[c] = table[row, c]
            number = int(table[row, 6])
            if number >= 0:
                at, th, tw = shapes[number, 0], shapes[number, 1], shapes[number, 2]
                ti = min(int((1.0 - (t - math.floor(t))) * th), th - 1)
                tj = min(int((s - math.floor(s)) * tw), tw - 1)
                q = at + ti * tw + tj
                for c in range(3):
                    colour[c] *= (pixels[q, c] / 255.0) ** 2.2
                opacity *= pixels[q, 3] / 255.0
            ox, oy, oz = px + 0.008 * nx, py + 0.008 * ny, pz + 0.008 * nz
            cosine = nx * sun[0] + ny * sun[1] + nz * sun[2]
            lit = 0.0
            if cosine > 0.0:
                lit = _free(ox, oy, oz, sun_map, sun_P, sun_focal, 1, 0.004)
            open_sky = 0.3 + 0.7 * _free(ox, oy, oz, sky_map, sky_P, sky_focal, 3, 0.004)
            dome = 0.5 + 0.5 * nz
            turn = 2.0 * facing
            rx, ry, rz = dx + turn * nx, dy + turn * ny, dz + turn * nz
            _around(rx, ry, rz, surroundings, mirror)
            shine = 0.0
            if lit > 0.0:
                along = max(rx * sun[0] + ry * sun[1] + rz * sun[2], 0.0)
                shine = lit * table[row, 3] * along ** table[row, 4]
            coat = 0.12 * table[row, 3]
            fresnel = coat + (0.5 * table[row, 3]) * (1.0 - facing) ** 5
            opacity = min(opacity + fresnel, 1.0)
            for c in range(3):
                light = sun_colour[c] * cosine * lit if cosine > 0.0 else 0.0
                light += open_sky * (dome * sky[c] + (1.0 - dome) * ground[c])
                value = colour[c] * light + fresnel * open_sky * mirror[c] + shine * sun_colour[c]
                out[i, j, c] = out[i, j, c] * (1.0 - opacity) + opacity * value
            out[i, j, 3] = out[i, j, 3] * (1.0 - opacity) + opacity


@numba.njit(cache=True)
def ground_light(  # type: ignore[no-untyped-def]
    R, eye, K, floor, sun_map, sun_P, sun_focal, sky_map, sky_P, sky_focal, sun_share, out
):
    """Fill `out` (h, w) with the share of light that the ground at z = floor still gets."""
    height, width = out.shape
    for i in range(height):
        for j in range(width):
            out[i, j] = 1.0
            x, y = (j - K[0, 2]) / K[0, 0], (i - K[1, 2]) / K[1, 1]
            dz = R[2, 0] * x + R[2, 1] * y + R[2, 2]
            if dz > -1e-6:
                continue
            far = (floor - eye[2]) / dz
            px = eye[0] + far * (R[0, 0] * x + R[0, 1] * y + R[0, 2])
            py = eye[1] + far * (R[1, 0] * x + R[1, 1] * y + R[1, 2])
            if far <= 0.0 or px * px + py * py > 9.0:
                continue
            lit = _free(px, py, floor, sun_map, sun_P, sun_focal, 1, 0.004)
            sky = _free(px, py, floor, sky_map, sky_P, sky_focal, 5, 0.004)
            out[i, j] = sun_share * lit + (1.0 - sun_share) * (0.25 + 0.75 * sky)
