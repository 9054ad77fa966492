# SPDX-License-Identifier: Apache-2.0
"""Several objects of one image: what one of them explains is no evidence for another.

A box around a half hidden car also holds what hides it. Where that is a car too, it explains the
image as well as the hidden one does, mostly better, and the estimate is dragged onto it. So objects
whose boxes overlap compete: each is estimated alone; of two, one stands in front, keeps the cells
that it explains, and the other one is estimated from what is left. Which of them stands in front is
decided by what both explain together, each cell counted once: a log-likelihood of the pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nemo_model.camera import FIRST_CELL, STRIDE, CropCamera
from nemo_model.estimate import Estimate, Observation

Mask = npt.NDArray[np.bool_]
Solve = Callable[[int, Observation], Estimate | None]

OVERLAP = 0.1
"""Objects compete when their boxes share this much of the smaller one."""
TOUCHED = 0.03
"""... and one explains at least this share of the cells in the other one's box."""


class Settled(NamedTuple):
    """An object after the competition: its estimate, from what, and which ones hide it."""

    estimate: Estimate
    seen: Observation
    behind: tuple[int, ...] = ()


def compete(seen: Sequence[Observation], alone: Sequence[Estimate], solve: Solve) -> list[Settled]:
    """Let the objects of one image compete for its cells.

    Args:
        seen: what each box shows.
        alone: the estimate of each from that.
        solve: estimates object k (place in `seen`) from an observation; None: no time for it, and
            the object stays as it is. Errors pass through.

    Returns: what is settled, in the order of `seen`. Objects whose boxes overlap no other one's
    stay as they are.
    """
    fronts: list[list[int]] = [[] for _ in seen]
    tried: dict[tuple[int, int], Settled] = {}
    for i, j in combinations(range(len(seen)), 2):
        if overlap(seen[i].box, seen[j].box) < OVERLAP:
            continue
        value: dict[tuple[int, int], float] = {}
        for hidden, front in ((i, j), (j, i)):
            rest = without(seen[hidden], claimed(alone[front], seen[hidden].crop))
            found = None if rest is None else solve(hidden, rest)
            if rest is None or found is None:
                continue
            tried[hidden, front] = Settled(found, rest, (front,))
            value[hidden, front] = explained(alone[front]) + explained(found)
        if value:  # else they have nothing in common
            hidden, front = max(value, key=lambda pair: value[pair])
            fronts[hidden].append(front)
    result = []
    for k, hiding in enumerate(fronts):
        settled = tried[k, hiding[0]] if hiding else Settled(alone[k], seen[k])
        if len(hiding) > 1:
            taken = np.logical_or.reduce([claimed(alone[one], seen[k].crop) for one in hiding])
            rest = replace(seen[k], taken=taken)
            found = solve(k, rest)
            settled = settled if found is None else Settled(found, rest, tuple(hiding))
        result.append(settled)
    return result


def overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Shared area of two boxes (4,) over the area of the smaller one."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0.0).any():
        return 0.0
    return float(sides.prod() / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))


def claimed(estimate: Estimate, crop: CropCamera) -> Mask:
    """Cells (h, w) of another crop of the same image that show what an estimate explains."""
    height, width = crop.map_size
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1) * [STRIDE, STRIDE, 1.0]
    pixels[..., :2] += FIRST_CELL
    across = estimate.crop.H_crop_image @ np.linalg.inv(crop.H_crop_image)
    there = pixels @ across.T
    ahead = there[..., 2] > 0.0
    cells = (there[..., :2] / np.where(ahead, there[..., 2], 1.0)[..., None] - FIRST_CELL) / STRIDE
    column, row = np.moveaxis(np.round(np.clip(cells, -9.0, 1e6)).astype(int), -1, 0)
    rows, columns = estimate.occlusion.shape
    inside = ahead & (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
    state = estimate.occlusion[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
    return np.asarray(inside & (state == 1))


def without(seen: Observation, taken: Mask) -> Observation | None:
    """The observation less the cells (h, w) that another object explains; None if hardly any."""
    x1, y1, x2, y2 = seen.box
    corners = np.array([[x1, y1, 1.0], [x2, y2, 1.0]]) @ seen.crop.H_crop_image.T
    (u1, v1), (u2, v2) = (corners[:, :2] / corners[:, 2:] - FIRST_CELL) / STRIDE
    cells = max((u2 - u1) * (v2 - v1), 1.0)
    if taken.sum() < TOUCHED * cells:
        return None
    return replace(seen, taken=taken if seen.taken is None else seen.taken | taken)


def explained(estimate: Estimate) -> float:
    """The energy in pixels of the image times cosine, whatever the crop's scale."""
    return estimate.energy * (STRIDE / estimate.crop.scale) ** 2
