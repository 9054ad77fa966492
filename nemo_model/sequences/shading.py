# SPDX-License-Identifier: Apache-2.0
"""What colour a pixel has: sun, sky, one reflection, a street around the objects. In numba.

World frame: x along the street, y across it, z up, metres, ground at 0. Light and colours are
linear; `picture` turns them into 8 bit. Surfaces are Lambertian with a clear coat (Schlick's
approximation of Fresnel's term) that mirrors the street; metals mirror in their own colour.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SUN = np.array([0.32, -0.62, 0.72]) / np.linalg.norm([0.32, -0.62, 0.72])
"""Direction to the sun."""
FRONTS = (9.0, -27.0)
"""y of the house fronts on both sides."""
SHADOW_SIZE, SHADOW_RANGE, SHADOW_DISTANCE = 1024, 44.0, 300.0
"""Pixels and metres that the shadow map spans, and how far off its camera stands."""


@numba.njit(cache=True)
def _hash(a, b, c):  # type: ignore[no-untyped-def]
    """A number in [0, 1) from three integers."""
    h = (a * 374761393 + b * 668265263 + c * 2147483647) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@numba.njit(cache=True)
def _noise(x, y, seed):  # type: ignore[no-untyped-def]
    """Smooth value noise in [0, 1)."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = int(i), int(j)
    a = _hash(i, j, seed) * (1 - u) + _hash(i + 1, j, seed) * u
    b = _hash(i, j + 1, seed) * (1 - u) + _hash(i + 1, j + 1, seed) * u
    return a * (1 - v) + b * v


@numba.njit(cache=True)
def _ground(x, y, seed):  # type: ignore[no-untyped-def]
    """Albedo of the ground: asphalt with lane marks, slabs beside it."""
    fine = 0.6 * _noise(x * 19.0, y * 19.0, seed) + 0.4 * _noise(x * 2.3, y * 2.3, seed + 1)
    if y > 4.2 or y < -8.0:
        joint = min(x / 0.6 - math.floor(x / 0.6), y / 0.4 - math.floor(y / 0.4))
        base = 0.20 if joint < 0.05 else 0.30 + 0.05 * _hash(
            math.floor(x / 0.6), math.floor(y / 0.4), seed)  # fmt: skip
        base *= 0.85 + 0.3 * fine
        return base, base * 0.97, base * 0.92
    base = 0.085 + 0.07 * fine
    if abs(y + 1.6) < 0.07 and x / 3.0 - math.floor(x / 3.0) < 0.5:
        base = 0.5 + 0.1 * fine
    return base, base, base * 1.03


@numba.njit(cache=True)
def _wall(x, z, side, seed):  # type: ignore[no-untyped-def]
    """Albedo of a house front, and the houses' height there."""
    house = math.floor(x / 8.5 + 0.3 * side)
    high = 6.5 + 3.5 * _hash(house, side, seed + 5)
    tone = 0.25 + 0.4 * _hash(house, side, seed + 2)
    red = tone * (1.0 + 0.25 * _hash(house, side, seed + 3))
    blue = tone * (0.55 + 0.4 * _hash(house, side, seed + 4))
    rough = 0.85 + 0.3 * _noise(x * 3.0, z * 3.0, seed + 6)
    u, v = x / 2.2 - math.floor(x / 2.2), z / 2.9 - math.floor(z / 2.9)
    if 0.27 < u < 0.73 and 0.34 < v < 0.82:
        if u < 0.30 or u > 0.70 or v < 0.37 or v > 0.79 or abs(u - 0.5) < 0.015:
            return 0.6, 0.6, 0.58, high
        shade = 0.03 + 0.12 * _hash(math.floor(x / 2.2), math.floor(z / 2.9), seed + 7)
        return shade, shade * 1.05, shade * 1.1, high
    return red * rough, tone * rough, blue * rough, high


@numba.njit(cache=True)
def _sky(dx, dy, dz, seed):  # type: ignore[no-untyped-def]
    low = 1.0 - max(dz, 0.0)
    low = low * low * low
    cloud = _noise(2.2 * dx / (dz + 0.3), 2.2 * dy / (dz + 0.3), seed + 9)
    cloud = max(0.0, cloud - 0.45) * 1.6
    return (
        0.33 + 0.42 * low + 0.5 * cloud,
        0.47 + 0.32 * low + 0.42 * cloud,
        0.80 + 0.05 * low + 0.2 * cloud,
    )


@numba.njit(cache=True)
def _street(ox, oy, oz, dx, dy, dz, seed):  # type: ignore[no-untyped-def]
    """What a ray meets when no object is in its way: albedo, how much sun, whether it is ground.

    kind 0: sky (the colour is light), 1: ground, 2: a wall; then the point.
    """
    nearest, kind = 1e9, 0
    if dz < -1e-6:
        nearest, kind = -oz / dz, 1
    for side in range(2):
        at = 9.0 if side == 0 else -27.0
        if (dy > 1e-6 and side == 0) or (dy < -1e-6 and side == 1):
            far = (at - oy) / dy
            if 0.0 < far < nearest:
                x, z = ox + far * dx, oz + far * dz
                r, g, b, high = _wall(x, z, side, seed)
                if z < high:
                    return r, g, b, 2, x, at, z
    if kind == 1:
        x, y = ox + nearest * dx, oy + nearest * dy
        r, g, b = _ground(x, y, seed)
        haze = math.exp(-nearest / 160.0)
        return r * haze + 0.3 * (1 - haze), g * haze + 0.3 * (1 - haze), b * haze + 0.32 * (
            1 - haze), 1, x, y, 0.0  # fmt: skip
    r, g, b = _sky(dx, dy, dz, seed)
    return r, g, b, 0, 0.0, 0.0, 0.0


@numba.njit(cache=True)
def _lit(x, y, z, shadow, L, f, c):  # type: ignore[no-untyped-def]
    """Share of sun, by the shadow map: 3 x 3 samples of its depth."""
    lx = L[0, 0] * x + L[0, 1] * y + L[0, 2] * z + L[0, 3]
    ly = L[1, 0] * x + L[1, 1] * y + L[1, 2] * z + L[1, 3]
    lz = L[2, 0] * x + L[2, 1] * y + L[2, 2] * z + L[2, 3]
    u, v = f * lx / lz + c, f * ly / lz + c
    if not (1.0 <= u < shadow.shape[1] - 2 and 1.0 <= v < shadow.shape[0] - 2):
        return 1.0
    i, j = int(v), int(u)
    free = 0
    for di in range(-1, 2):
        for dj in range(-1, 2):
            free += shadow[i + di, j + dj] > lz - 0.08
    return free / 9.0


@numba.njit(cache=True)
def shade(  # type: ignore[no-untyped-def]
    face, bary, normals, uv, material, table, texture, R, eye, K, shadow, L, seed, out
):
    """Fill `out` (h, w, 4): linear colour, and 1 where something is drawn.

    Args:
        face, bary: of the rasteriser; with -1 the street is drawn, or nothing when seed < 0.
        normals (F, 3, 3) in the world, uv (F, 3, 2), material (F,).
        table: (M, 7) albedo, coat (Fresnel's term at 0), mirror sharpness, metal, textured.
        texture: (n, m, 4) in [0, 1], linear.
        R, eye: camera to world (3, 3), (3,). K: of the grid.
        shadow, L: depth map from the sun, world -> its camera (3, 4).
    """
    height, width = face.shape
    f, c = 0.0, (shadow.shape[1] - 1) / 2.0
    f = 300.0 * shadow.shape[1] / 44.0
    sun_r, sun_g, sun_b = 2.3, 2.1, 1.8
    for i in range(height):
        for j in range(width):
            x, y = (j - K[0, 2]) / K[0, 0], (i - K[1, 2]) / K[1, 1]
            dx = R[0, 0] * x + R[0, 1] * y + R[0, 2]
            dy = R[1, 0] * x + R[1, 1] * y + R[1, 2]
            dz = R[2, 0] * x + R[2, 1] * y + R[2, 2]
            n = math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx / n, dy / n, dz / n
            k = face[i, j]
            if k < 0:
                if seed < 0:
                    out[i, j, 3] = 0.0
                    continue
                r, g, b, kind, px, py, pz = _street(eye[0], eye[1], eye[2], dx, dy, dz, seed)
                if kind == 1:
                    sun = _lit(px, py, pz, shadow, L, f, c) * 0.72
                    r, g, b = r * (sun_r * sun + 0.45), g * (sun_g * sun + 0.5), b * (
                        sun_b * sun + 0.6)  # fmt: skip
                elif kind == 2:
                    sun = 0.62 if py > 0.0 else 0.0
                    r, g, b = r * (sun_r * sun + 0.4), g * (sun_g * sun + 0.43), b * (
                        sun_b * sun + 0.5)  # fmt: skip
                out[i, j, 0], out[i, j, 1], out[i, j, 2], out[i, j, 3] = r, g, b, 1.0
                continue
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
            r, g, b = table[row, 0], table[row, 1], table[row, 2]
            if table[row, 6] > 0.0:
                ti = int((1.0 - (t - math.floor(t))) * (texture.shape[0] - 1))
                tj = int((s - math.floor(s)) * (texture.shape[1] - 1))
                if texture[ti, tj, 3] < 0.5:
                    out[i, j, 3] = 0.0
                    continue
                r, g, b = texture[ti, tj, 0], texture[ti, tj, 1], texture[ti, tj, 2]
            depth = bary[i, j, 3]
            px = eye[0] + depth * (R[0, 0] * x + R[0, 1] * y + R[0, 2])
            py = eye[1] + depth * (R[1, 0] * x + R[1, 1] * y + R[1, 2])
            pz = eye[2] + depth * (R[2, 0] * x + R[2, 1] * y + R[2, 2])
            cosine = nx * SUN[0] + ny * SUN[1] + nz * SUN[2]
            sun = 0.0
            if cosine > 0.0:
                free = _lit(px + 0.03 * nx, py + 0.03 * ny, pz + 0.03 * nz, shadow, L, f, c)
                sun = cosine * free
            dome = 0.5 + 0.5 * nz
            low = min(1.0, 0.35 + pz)  # less sky gets under an object
            rx, ry, rz = dx + 2 * facing * nx, dy + 2 * facing * ny, dz + 2 * facing * nz
            mr, mg, mb, kind, _qx, _qy, _qz = _street(px, py, pz, rx, ry, rz, abs(seed))
            if kind > 0:
                mr, mg, mb = mr * 1.1, mg * 1.1, mb * 1.1
            shine = max(0.0, rx * SUN[0] + ry * SUN[1] + rz * SUN[2])
            shine = (shine ** table[row, 4]) * 0.06 * table[row, 4] if sun > 0.0 else 0.0
            coat = table[row, 3]
            fresnel = coat + (1.0 - coat) * (1.0 - facing) ** 5 if coat > 0.0 else 0.0
            metal = table[row, 5]
            light_r, light_g, light_b = (
                sun_r * sun + low * (0.62 * dome + 0.12),
                sun_g * sun + low * (0.68 * dome + 0.11),
                sun_b * sun + low * (0.82 * dome + 0.10),
            )
            out[i, j, 0] = (1 - metal) * r * light_r + metal * r * mr + fresnel * (mr + shine)
            out[i, j, 1] = (1 - metal) * g * light_g + metal * g * mg + fresnel * (mg + shine)
            out[i, j, 2] = (1 - metal) * b * light_b + metal * b * mb + fresnel * (mb + shine)
            out[i, j, 3] = 1.0


def sun_camera(centre: Array) -> tuple[Array, Array]:
    """World -> sun's camera (3, 4) that looks at a point, and the K (3, 3) of its depth map."""
    right = np.cross([0.0, 0.0, 1.0], SUN)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(-SUN, right), -SUN])
    eye = centre + SHADOW_DISTANCE * SUN
    focal, middle = SHADOW_DISTANCE * SHADOW_SIZE / SHADOW_RANGE, (SHADOW_SIZE - 1) / 2.0
    K = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
    return np.concatenate([R, -(R @ eye)[:, None]], axis=1), K


def picture(linear: Array, exposure: float = 0.95) -> npt.NDArray[np.uint8]:
    """Linear light (h, w, 3) to 8 bit RGB: a soft shoulder, then the sRGB curve."""
    x = np.maximum(linear, 0.0) * exposure
    x = x * (1.0 + x / 9.0) / (1.0 + 0.62 * x)
    srgb = np.where(x < 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055)
    return np.clip(255.0 * srgb + 0.5, 0, 255).astype(np.uint8)
