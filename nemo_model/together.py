# SPDX-License-Identifier: Apache-2.0
"""Several objects of one image: what one of them explains is no evidence for another.

A box around a half hidden car also holds what hides it. Where that is a car too, it explains the
image as well as the hidden one does, mostly better, and the estimate is dragged onto it. So objects
whose boxes overlap compete: each is estimated alone; of two, one is held, and the other one is
estimated again from what is left: once from the cells that the first does not explain, once also
from those that it explains worse. A pose counts by what it adds: the sum over cells of what it
explains better than the first does; what adds no more than the pose found alone is not taken. Which
of the two is held is decided by what both explain together, each cell counted once: a
log-likelihood of the pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nemo_model.boxes import Box, covered, iou
from nemo_model.camera import FIRST_CELL, STRIDE, CropCamera
from nemo_model.estimate import Estimate, Observation

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Solve = Callable[[int, Observation], Estimate | None]
Gain = Callable[[int, Observation, Estimate], Floats]

OVERLAP = 0.1
"""Objects compete when their boxes share this much of the smaller one."""
TWICE = 0.8
"""Boxes of which this share is common to both (intersection over union) are of one object."""
TIE = 0.1
"""A cell that both explain alike, to this difference of cosines, goes to the one in front: an
object that was dragged onto another one explains its cells as well as that does."""
TOUCHED = 0.03
"""... and one explains at least this share of the cells in the other one's box."""


class Settled(NamedTuple):
    """An object after the competition: its estimate, from what, and which ones hide it."""

    estimate: Estimate
    seen: Observation
    behind: tuple[int, ...] = ()


def compete(
    seen: Sequence[Observation], alone: Sequence[Estimate], solve: Solve, gain: Gain
) -> list[Settled]:
    """Let the objects of one image compete for its cells.

    Args:
        seen: what each box shows.
        alone: the estimate of each from that.
        solve: estimates object k (place in `seen`) from an observation; None: no time for it.
            Errors pass through.
        gain: (h, w) by how much the estimate of object k explains each cell of an observation
            better than the background; minus infinity where it does not cover it.

    Returns: what is settled, in the order of `seen`. Objects whose boxes overlap no other one's
    stay as they are.
    """
    rounds = _Rounds(seen, alone, solve, gain)
    fronts: list[list[int]] = [[] for _ in seen]
    for i, j in combinations(range(len(seen)), 2):
        if not rivals(seen[i].box, seen[j].box):
            continue
        value = {}
        for hidden, front in ((i, j), (j, i)):
            after, added = rounds.behind(hidden, (front,))
            value[hidden, front] = rounds.pixels(alone[front].energy, front) + added
            if not after.behind:  # it stays as it is
                value.pop((hidden, front))
        if value:
            hidden, front = max(value, key=lambda pair: value[pair])
            fronts[hidden].append(front)
    return [rounds.behind(k, tuple(hiding))[0] for k, hiding in enumerate(fronts)]


class _Rounds:
    """What `compete` asks for, each thing computed once."""

    def __init__(
        self, seen: Sequence[Observation], alone: Sequence[Estimate], solve: Solve, gain: Gain
    ) -> None:
        self.seen, self.alone, self.solve, self.gain = seen, alone, solve, gain
        self._own: dict[int, Floats] = {}
        self._behind: dict[tuple[int, tuple[int, ...]], tuple[Settled, float]] = {}

    def pixels(self, energy: float, k: int) -> float:
        """An energy of object k's map in pixels of the image times cosine."""
        return energy * (STRIDE / self.seen[k].crop.scale) ** 2

    def own(self, k: int) -> Floats:
        """Gains (h, w) of object k alone, in its own crop."""
        if k not in self._own:
            self._own[k] = self.gain(k, self.seen[k], self.alone[k])
        return self._own[k]

    def behind(self, hidden: int, fronts: tuple[int, ...]) -> tuple[Settled, float]:
        """The best pose of an object behind others, and what it adds, in pixels times cosine."""
        if (hidden, fronts) not in self._behind:
            self._behind[hidden, fronts] = self._settle(hidden, fronts)
        return self._behind[hidden, fronts]

    def _settle(self, hidden: int, fronts: tuple[int, ...]) -> tuple[Settled, float]:
        seen = self.seen[hidden]
        best = Settled(self.alone[hidden], seen)
        if not fronts:
            return best, 0.0
        theirs = np.maximum.reduce(
            [carried(self.own(k), self.seen[k].crop, seen.crop) for k in fronts]
        )
        most = _added(self.own(hidden), theirs)
        explained = theirs > 0.0
        tried: list[Mask] = []
        for taken in (explained, explained & (theirs > self.own(hidden) - TIE)):
            rest = without(seen, taken)
            if rest is None or any((taken == other).all() for other in tried):
                continue
            tried.append(taken)
            found = self.solve(hidden, rest)
            if found is None:
                continue
            added = _added(self.gain(hidden, seen, found), theirs)
            if added > most:
                best, most = Settled(found, rest, fronts), added
        return best, self.pixels(most, hidden)


def _added(gains: Floats, theirs: Floats) -> float:
    """What gains (h, w) explain beyond those of others, in cells times cosine."""
    return float(np.maximum(gains - np.maximum(theirs, 0.0), 0.0).sum())


def rivals(a: Floats, b: Floats) -> bool:
    """Whether objects with these boxes (4,) compete: they overlap, and are not one found twice."""
    one, other = as_box(a), as_box(b)
    shared = max(covered(one, other), covered(other, one))
    return shared >= OVERLAP and iou(one, other) < TWICE


def as_box(values: Floats) -> Box:
    """A box (4,) as a tuple of x1, y1, x2, y2."""
    x1, y1, x2, y2 = (float(value) for value in values)
    return (x1, y1, x2, y2)


def carried(values: Floats, source: CropCamera, crop: CropCamera) -> Floats:
    """Values (h, w) of one crop's cells, looked up for those of another crop of the same image.

    Minus infinity for cells that the first crop does not show.
    """
    height, width = crop.map_size
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([u * STRIDE + FIRST_CELL, v * STRIDE + FIRST_CELL, np.ones_like(u)], axis=-1)
    there = pixels @ (source.H_crop_image @ np.linalg.inv(crop.H_crop_image)).T
    ahead = there[..., 2] > 0.0
    cells = (there[..., :2] / np.where(ahead, there[..., 2], 1.0)[..., None] - FIRST_CELL) / STRIDE
    column, row = np.moveaxis(np.round(np.clip(cells, -9.0, 1e6)).astype(int), -1, 0)
    rows, columns = values.shape
    inside = ahead & (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
    found = values[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]
    return np.where(inside, found, -np.inf)


def without(seen: Observation, taken: Mask) -> Observation | None:
    """The observation less the cells (h, w) that another object explains; None if hardly any."""
    x1, y1, x2, y2 = seen.box
    corners = np.array([[x1, y1, 1.0], [x2, y2, 1.0]]) @ seen.crop.H_crop_image.T
    (u1, v1), (u2, v2) = (corners[:, :2] / corners[:, 2:] - FIRST_CELL) / STRIDE
    cells = max((u2 - u1) * (v2 - v1), 1.0)
    if taken.sum() < TOUCHED * cells:
        return None
    return replace(seen, taken=taken if seen.taken is None else seen.taken | taken)
