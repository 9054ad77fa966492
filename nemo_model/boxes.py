# SPDX-License-Identifier: Apache-2.0
"""What boxes say: whether one can be used, which object it belongs to, and how that object moved.

Boxes are (x1, y1, x2, y2) in pixels, 0-based and continuous, pixel centres at integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nemo_model.camera import Camera

Box = tuple[float, float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """A box of a detector. box (x1, y1, x2, y2) in pixels; track_id "" when it has none."""

    box: Box
    category: str
    score: float = 1.0
    track_id: str = ""


class Known(Protocol):
    """An object that boxes are joined to: its category and where its box was last."""

    category: str
    box: Box


S = TypeVar("S", bound=Known)


def reason_against(detection: Detection, camera: Camera, min_px: float) -> str | None:
    """Why a box cannot be used, in words; None when it can."""
    x1, y1, x2, y2 = detection.box
    if not all(math.isfinite(v) for v in detection.box):
        return "the box is not finite (NaN or infinite)"
    if not math.isfinite(detection.score):
        return "the score is not finite (NaN or infinite)"
    if x2 <= x1 or y2 <= y1:
        return f"the box is empty ({x2 - x1:g} x {y2 - y1:g} pixels)"
    if x2 - x1 < min_px or y2 - y1 < min_px:
        return f"the box is too small ({x2 - x1:g} x {y2 - y1:g} pixels, at least {min_px:g})"
    inside_x = min(x2, camera.width - 0.5) - max(x1, -0.5)
    inside_y = min(y2, camera.height - 0.5) - max(y1, -0.5)
    if inside_x < min_px or inside_y < min_px:
        return f"the box lies outside the image ({camera.width} x {camera.height} pixels)"
    return None


def covered(box: Box, by: Box) -> float:
    """Share of a box that another one covers."""
    width = min(box[2], by[2]) - max(box[0], by[0])
    height = min(box[3], by[3]) - max(box[1], by[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return width * height / area if width > 0.0 and height > 0.0 and area > 0.0 else 0.0


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / (area - common)


def associate(
    detections: Iterable[Detection], states: Mapping[str, S], min_iou: float
) -> list[S | None]:
    """The known object of each detection, or None.

    A detector's id decides alone: the track of that id (and category), or a new one. The other
    detections take the unclaimed track of their category that they overlap most, best pair first.
    """
    detections = list(detections)
    result: list[S | None] = [None] * len(detections)
    claimed: set[str] = set()
    for i, detection in enumerate(detections):
        state = states.get(detection.track_id) if detection.track_id else None
        if state is not None and state.category == detection.category:
            result[i] = state
        if detection.track_id:
            claimed.add(detection.track_id)
    pairs = [
        (-overlap, i, name)
        for i, detection in enumerate(detections)
        if not detection.track_id
        for name, state in states.items()
        if name not in claimed and state.category == detection.category
        if (overlap := iou(detection.box, state.box)) >= min_iou
    ]
    done: set[int] = set()
    for _, i, name in sorted(pairs):
        if i not in done and name not in claimed:
            result[i] = states[name]
            done.add(i)
            claimed.add(name)
    return result


def predict(
    T_cam_obj: Floats,
    camera: Camera,
    box: Box,
    new_camera: Camera,
    new_box: Box,
    still_iou: float = 1.0,
) -> Floats:
    """The last pose (4, 4), moved as its box moved from `box` to `new_box`.

    The rotation is kept. The object's centre keeps its place relative to the box; the distance
    goes with one over the box's growth. Edges on the image's border say nothing about the object
    and are left out; a box that overlaps its last one by more than `still_iou` has not moved.
    """
    T = T_cam_obj.copy()
    same_camera = bool(np.array_equal(camera.K, new_camera.K))
    if same_camera and iou(box, new_box) > still_iou:
        return T
    t = T[:3, 3]
    centre = (camera.K @ t)[:2] / t[2]
    sizes = (camera.width, camera.height)
    new_sizes = (new_camera.width, new_camera.height)
    growth: list[float] = []
    anchors: list[tuple[float, float] | None] = []
    for axis in range(2):
        old = (box[axis], box[axis + 2])
        new = (new_box[axis], new_box[axis + 2])
        free = [
            _inside(o, sizes[axis]) and _inside(n, new_sizes[axis])
            for o, n in zip(old, new, strict=True)
        ]
        if all(free):
            growth.append((new[1] - new[0]) / (old[1] - old[0]))
            anchors.append(((old[0] + old[1]) / 2, (new[0] + new[1]) / 2))
        elif any(free):
            edge = free.index(True)
            anchors.append((old[edge], new[edge]))
        else:
            anchors.append(None)
    scale = math.exp(sum(math.log(g) for g in growth) / len(growth)) if growth else 1.0
    moved = [
        centre[axis] if pair is None else pair[1] + (centre[axis] - pair[0]) * scale
        for axis, pair in enumerate(anchors)
    ]
    focal = math.sqrt((new_camera.K[0, 0] * new_camera.K[1, 1]) / (camera.K[0, 0] * camera.K[1, 1]))
    z = t[2] * focal / scale
    T[:3, 3] = z * np.linalg.solve(new_camera.K, np.array([moved[0], moved[1], 1.0]))
    return T


def _inside(edge: float, size: int, margin: float = 1.5) -> bool:
    return margin < edge < size - 1 - margin
