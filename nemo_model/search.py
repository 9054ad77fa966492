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
from nemo_model.objective import FAST, NEAR
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


@numba.njit(cache=True, fastmath=FAST)
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
        q1, q2, q3 = min(first + 1, last - 1), min(first + 2, last - 1), min(first + 3, last - 1)
        for k in range(channels):
            f0, f1 = patch_features[first, k], patch_features[q1, k]
            f2, f3 = patch_features[q2, k], patch_features[q3, k]
            column = transposed[k]
            for cell in range(cells):
                value = column[cell]
                r0[cell] += f0 * value
                r1[cell] += f1 * value
                r2[cell] += f2 * value
                r3[cell] += f3 * value
        for q in range(first, last):
            scores = row[q - first]
            for i in range(height):
                base = (i + pad) * stride + pad
                for j in range(width):
                    gain = scores[i * width + j] - background[i * width + j]
                    out[q, base + j] = gain if gain > zero else zero


@numba.njit(cache=True, fastmath=FAST)
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
    base = np.empty(count, dtype=np.int32)
    area = np.empty(count, dtype=np.float32)
    index = np.empty(count, dtype=np.int32)
    offsets = np.empty(len(shifts), dtype=np.int32)
    for s in range(len(shifts)):
        offsets[s] = shifts[s, 1] * stride + shifts[s, 0]
    t, moved, start = np.empty(3), np.empty(3), np.empty(3)
    low, right, bottom = -float(pad // 2), width - 1.0 + pad // 2, height - 1.0 + pad // 2
    for g in range(len(rotations)):
        R = rotations[g]
        if fixed:
            start[:] = given
        else:
            fit(outline, R, rays, weights, start)
        scores[g] = -1.0
        for scale in scales:
            t[:] = start * scale
            seen = 0
            for q in range(count):
                x = patches.centre[0, q]
                y = patches.centre[1, q]
                z = patches.centre[2, q]
                xc = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]
                yc = R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]
                zc = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
                if zc < NEAR:
                    continue
                if patches.convex:
                    n0, n1, n2 = patches.normal[0, q], patches.normal[1, q], patches.normal[2, q]
                    facing = (
                        -(
                            (R[0, 0] * n0 + R[0, 1] * n1 + R[0, 2] * n2) * xc
                            + (R[1, 0] * n0 + R[1, 1] * n1 + R[1, 2] * n2) * yc
                            + (R[2, 0] * n0 + R[2, 1] * n1 + R[2, 2] * n2) * zc
                        )
                        / zc
                    )
                else:
                    facing = float(patches.seen[views[g], q])
                if facing <= 0.0:
                    continue
                u = min(max(fx * xc / zc + cx, low), right)
                v = min(max(fy * yc / zc + cy, low), bottom)
                base[seen] = (math.floor(v + 0.5) + pad) * stride + (math.floor(u + 0.5) + pad)
                area[seen] = fx * fy * facing / (zc * zc)
                index[seen] = q
                seen += 1
            for s in range(len(shifts)):
                offset = offsets[s]
                score = np.float32(0.0)
                for k in range(seen):
                    score += area[k] * table[index[k], base[k] + offset]
                if score > scores[g]:
                    scores[g] = score
                    moved[0] = t[0] + t[2] * shifts[s, 0] / fx
                    moved[1] = t[1] + t[2] * shifts[s, 1] / fy
                    moved[2] = t[2]
                    translations[g, :] = moved


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
