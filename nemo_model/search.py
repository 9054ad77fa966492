# SPDX-License-Identifier: Apache-2.0
"""Where to start: score a grid of poses by table lookups and keep the best that lie far apart.

The score of a patch on a cell, U = relu(feature of the patch . F - b), is computed for all pairs
at once; a pose's score is the sum of U over its visible patches, weighted by their projected
areas: the objective, coarsely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numba
import numpy as np
import numpy.typing as npt

from nemo_model.boxfit import fit
from nemo_model.kernel import kernel
from nemo_model.objective import NEAR
from nemo_model.pose import rotation_from_angles

Array = npt.NDArray[np.float64]


def rotation_grid(
    azimuths: int, elevations_deg: Sequence[float], in_plane_deg: Sequence[float]
) -> tuple[Array, npt.NDArray[np.int32]]:
    """Return rotations (G, 3, 3) and for each the number (G,) of its (azimuth, elevation) pair."""
    pairs = list(product(np.arange(azimuths) * (2.0 * np.pi / azimuths), elevations_deg))
    rotations = [
        rotation_from_angles(float(a), math.radians(e), math.radians(t))
        for a, e in pairs
        for t in in_plane_deg
    ]
    views = np.repeat(np.arange(len(pairs)), len(in_plane_deg)).astype(np.int32)
    return np.ascontiguousarray(np.array(rotations).reshape(-1, 3, 3)), views


@kernel
def lookup_table(features, patch_features, background, height, width, pad, transposed, row, out):  # type: ignore[no-untyped-def]
    """Fill out (Q, (height + 2 pad) * (width + 2 pad)) with relu(patch . cell - b), zero outside.

    features (N, C); transposed (C, N) and row (4, N) are scratch.
    """
    cells, channels = features.shape
    for cell in range(cells):
        for k in range(channels):
            transposed[k, cell] = features[cell, k]
    stride = width + 2 * pad
    count = patch_features.shape[0]
    zero = np.float32(0.0)
    for first in range(0, count, 4):
        last = min(first + 4, count)
        row[:] = zero
        r0, r1, r2, r3 = row[0], row[1], row[2], row[3]
        f0, f1 = patch_features[first], patch_features[min(first + 1, last - 1)]
        f2, f3 = patch_features[min(first + 2, last - 1)], patch_features[min(first + 3, last - 1)]
        whole = channels - channels % 4
        for k in range(0, whole, 4):  # blocks of 4 x 4 stay in registers
            a0, a1, a2, a3 = f0[k], f0[k + 1], f0[k + 2], f0[k + 3]
            b0, b1, b2, b3 = f1[k], f1[k + 1], f1[k + 2], f1[k + 3]
            c0, c1, c2, c3 = f2[k], f2[k + 1], f2[k + 2], f2[k + 3]
            d0, d1, d2, d3 = f3[k], f3[k + 1], f3[k + 2], f3[k + 3]
            x0, x1, x2, x3 = (
                transposed[k], transposed[k + 1], transposed[k + 2], transposed[k + 3],
            )  # fmt: skip
            for cell in range(cells):
                v0, v1, v2, v3 = x0[cell], x1[cell], x2[cell], x3[cell]
                r0[cell] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                r1[cell] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
                r2[cell] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
                r3[cell] += d0 * v0 + d1 * v1 + d2 * v2 + d3 * v3
        for k in range(whole, channels):
            for cell in range(cells):
                value = transposed[k, cell]
                r0[cell] += f0[k] * value
                r1[cell] += f1[k] * value
                r2[cell] += f2[k] * value
                r3[cell] += f3[k] * value
        for q in range(first, last):
            scores = row[q - first]
            for i in range(height):
                base = (i + pad) * stride + pad
                for j in range(width):
                    gain = scores[i * width + j] - background[i * width + j]
                    out[q, base + j] = gain if gain > zero else zero


@kernel
def _place(patches, seen, R, t, fx, fy, cx, cy, far, u, v, area):  # type: ignore[no-untyped-def]
    """Fill cell coordinates u, v and projected areas (0: not visible) of all patches (Q,).

    A small patch of area A and normal n at X, seen from eye, covers fx fy A n.(eye - X) / z^3
    cells; the areas seen (Q,) of a mesh that is not convex are at right angles to the ray already.
    """
    r00, r01, r02 = np.float32(R[0, 0]), np.float32(R[0, 1]), np.float32(R[0, 2])
    r10, r11, r12 = np.float32(R[1, 0]), np.float32(R[1, 1]), np.float32(R[1, 2])
    r20, r21, r22 = np.float32(R[2, 0]), np.float32(R[2, 1]), np.float32(R[2, 2])
    t0, t1, t2 = np.float32(t[0]), np.float32(t[1]), np.float32(t[2])
    e0 = -(r00 * t0 + r10 * t1 + r20 * t2)  # the camera in the object frame
    e1 = -(r01 * t0 + r11 * t1 + r21 * t2)
    e2 = -(r02 * t0 + r12 * t1 + r22 * t2)
    fx, fy, cx, cy = np.float32(fx), np.float32(fy), np.float32(cx), np.float32(cy)
    zero, one, near = np.float32(0.0), np.float32(1.0), np.float32(NEAR)
    low, right, bottom = np.float32(-far[0]), np.float32(far[1]), np.float32(far[2])
    ff = fx * fy
    centre, normal, convex = patches.centre, patches.normal, patches.convex
    for q in range(centre.shape[1]):
        x, y, z = centre[0, q], centre[1, q], centre[2, q]
        zc = r20 * x + r21 * y + r22 * z + t2
        inverse = one / max(zc, near)
        u[q] = min(max(fx * (r00 * x + r01 * y + r02 * z + t0) * inverse + cx, low), right)
        v[q] = min(max(fy * (r10 * x + r11 * y + r12 * z + t1) * inverse + cy, low), bottom)
        area[q] = ff * inverse * inverse * (inverse if convex else one) if zc > near else zero
    if convex:
        for q in range(centre.shape[1]):
            facing = (
                normal[0, q] * (e0 - centre[0, q])
                + normal[1, q] * (e1 - centre[1, q])
                + normal[2, q] * (e2 - centre[2, q])
            )
            area[q] *= max(facing, zero)
    else:
        for q in range(centre.shape[1]):
            area[q] *= seen[q]


@kernel
def scan(  # type: ignore[no-untyped-def]
    rotations, views, patches, outline, rays, weights, given, fixed, scales, shifts, table, pad,
    fx, fy, cx, cy, height, width, scores, translations,
):  # fmt: skip
    """Score every rotation of the grid at its best scale and shift.

    Per rotation the translation is fitted to the box (`given` is taken when `fixed`), then its
    distance is multiplied by `scales` and the picture moved by `shifts` (S, 2) whole cells.
    Fills scores (G,) and translations (G, 3).
    """
    stride = width + 2 * pad
    count = patches.centre.shape[1]
    size = table.shape[1]
    flat = table.reshape(-1)
    u, v = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    area, shown = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    place = np.empty(count, dtype=np.int32)
    t, start = np.empty(3), np.empty(3)
    border = pad // 2
    far = (float(border), width - 1.0 + border, height - 1.0 + border)
    half, zero = np.float32(pad + 0.5), np.float32(0.0)
    for g in range(len(rotations)):
        R = rotations[g]
        if fixed:
            start[:] = given
        else:
            fit(outline, R, rays, weights, start)
        best = np.float32(-1.0)
        for scale in scales:
            t[:] = start * scale
            _place(patches, patches.seen[views[g]], R, t, fx, fy, cx, cy, far, u, v, area)
            visible = 0
            for q in range(count):  # u + half > 0: cutting off the fraction rounds to the nearest
                place[visible] = q * size + int(v[q] + half) * stride + int(u[q] + half)
                shown[visible] = area[q]
                visible += area[q] > zero
            for s in range(len(shifts)):
                offset = np.int32(shifts[s, 1] * stride + shifts[s, 0])
                score = zero
                for k in range(visible):
                    score += shown[k] * flat[place[k] + offset]
                if score > best:
                    best = score
                    translations[g, 0] = t[0] + t[2] * shifts[s, 0] / fx
                    translations[g, 1] = t[1] + t[2] * shifts[s, 1] / fy
                    translations[g, 2] = t[2]
        scores[g] = best


@numba.njit(cache=True)
def peaks(rotations, scores, cos_apart, chosen):  # type: ignore[no-untyped-def]
    """Fill chosen (n,) with the best rotations' numbers, each far from all better ones.

    Returns how many were found.
    """
    free = np.ones(len(scores), dtype=np.bool_)
    found = 0
    while found < len(chosen):
        best = -1
        for g in range(len(scores)):
            if free[g] and (best < 0 or scores[g] > scores[best]):
                best = g
        if best < 0:
            break
        chosen[found] = best
        found += 1
        for g in range(len(scores)):
            if free[g]:
                trace = 0.0
                for i in range(3):
                    for j in range(3):
                        trace += rotations[g, i, j] * rotations[best, i, j]
                if 0.5 * (trace - 1.0) > cos_apart:
                    free[g] = False
    return found
