# SPDX-License-Identifier: Apache-2.0
"""Which box belongs to which object: by the detector's id, by overlap with the predicted box, and
for an object that was not seen for a while by its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nemo_model.boxes import Box, Detection, iou

NEAR = 0.8
"""A box whose centre is nearer than this many of its mean sides may be an object that jumped."""
SIZE_RATIO = 2.0
"""A box more than so many times larger or smaller than expected is another object."""


@dataclass(frozen=True)
class Expected:
    """Where an object is thought to be. unseen_s: time since it was last seen."""

    category: str
    box: Box
    unseen_s: float = 0.0
    lost: bool = False


def associate(
    detections: Sequence[Detection], expected: Mapping[str, Expected], min_iou: float
) -> list[str | None]:
    """The object's id for each detection, or None for a new one.

    A detector's id decides alone: the object of that id (and category), or a new one. The other
    detections take the unclaimed object of their category that they overlap most, best pair first;
    objects in sight come before lost ones. What is left over joins the nearest object whose place
    is near enough: within NEAR, and for one not seen for a while further by a box a second.
    """
    result: list[str | None] = [None] * len(detections)
    claimed: set[str] = set()
    for i, detection in enumerate(detections):
        name = detection.track_id
        if name in expected and expected[name].category == detection.category:
            result[i] = name
        if name:
            claimed.add(name)
    free = [i for i, detection in enumerate(detections) if not detection.track_id]
    pairs: list[tuple[int, float, int, str]] = []
    for i in free:
        for name, one in expected.items():
            if one.category != detections[i].category:
                continue
            overlap = iou(detections[i].box, one.box)
            if overlap >= min_iou and overlap > 0.0:
                pairs.append((2 * one.lost, -overlap, i, name))
                continue
            distance = _apart(detections[i].box, one.box)
            if min_iou < 1.0 and distance <= NEAR + one.unseen_s:
                pairs.append((2 * one.lost + 1, distance, i, name))
    done: set[int] = set()
    for _, _, i, name in sorted(pairs):
        if i not in done and name not in claimed:
            result[i] = name
            done.add(i)
            claimed.add(name)
    return result


def _apart(a: Box, b: Box) -> float:
    """Distance of two boxes' centres over the larger one's mean side; infinite if sizes differ."""
    sizes = [math.sqrt(max(x[2] - x[0], 1e-6) * max(x[3] - x[1], 1e-6)) for x in (a, b)]
    if max(sizes) > SIZE_RATIO * min(sizes):
        return math.inf
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    return math.hypot(dx, dy) / max(sizes)
