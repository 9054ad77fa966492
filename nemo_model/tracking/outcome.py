# SPDX-License-Identifier: Apache-2.0
"""What is told of an object after a frame, and whether its pose is worth publishing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nemo_model.boxes import Detection, covered, iou, reason_against
from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.memory import Memory, Task
from nemo_model.tracking.motion import clipped
from nemo_model.tracking.states import Look, State
from nemo_model.tracking.types import Frame, Track

HIDDEN_BY = 0.6
"""An object of whose box another one's covers this share, and that is farther, is hidden by it."""
SAME_PLACE = 0.7
"""Two objects whose boxes overlap so much cannot both be seen without a box of the detector."""
YOUNG_S = 1.0
"""An object older than this is never taken for another one."""
INSIDE = 0.3
"""An object of whose box less than this share lies inside the image has left it."""


def track_of(
    task: Task, look: Look | None, frame: Frame, config: TrackerConfig
) -> tuple[Track, bool]:
    """The track of an object that has an estimate, and whether its pose is worth publishing.

    It is worth it when this frame's image supports it, or has a box of it, and it is not lost; and
    for lost_after_s when it only waits for its turn and the last look supported it.
    """
    memory = task.memory
    standing, estimate = memory.standing, memory.estimate
    assert standing is not None
    assert estimate is not None
    age = (frame.stamp_ns - memory.stamp_ns) * 1e-9
    reason, box = standing.reason, memory.box
    predicted = memory.stamp_ns != frame.stamp_ns
    if predicted:
        ahead = memory.pose_at(frame.stamp_ns, config)
        box = memory.box_at(ahead, frame.camera)
        estimate = aged(estimate, ahead, age)
    if look is None:
        reason = f"waits for its turn, predicted; before: {reason}"
        supported = standing.support_ns == memory.looked_ns
        worth = supported and standing.state is not State.LOST and age <= config.lost_after_s
    else:
        worth = standing.state is not State.LOST and not predicted and not look.obstacle
    track = Track(
        memory.id, task.detection, estimate, standing.hits, memory.first_stamp_ns, reason,
        standing.state, box, predicted,
    )  # fmt: skip
    return track, worth


def aged(estimate: Any, ahead: Any, age_s: float) -> Any:
    """The last estimate moved on: its score and covariance tell less with every moment.

    A rule of thumb, not measured: the score falls by e in half a second, the standard deviations
    double in a tenth.
    """
    return replace(
        estimate,
        T_cam_obj=ahead,
        score=estimate.score * math.exp(-age_s / 0.5),
        covariance=estimate.covariance * (1.0 + age_s / 0.1) ** 2,
        mode="predicted",
    )


def obstacle(task: Task, tasks: Sequence[Task], frame: Frame, config: TrackerConfig) -> str:
    """Why an object without a box need not be looked for, in words, or ""."""
    memory = task.memory
    if memory.lost:
        return "no box"
    if config.bridge_s <= 0.0:
        return "no box"
    box = clipped(task.box, frame.camera)
    outside = reason_against(Detection(box, memory.category), frame.camera, config.min_box_px)
    if outside is not None or covered(task.box, box) < INSIDE:
        return "it has left the image"
    depth = memory.pose_at(frame.stamp_ns, config)[2, 3]
    for other in tasks:
        if other.detection is None or other.memory.estimate is None:
            continue
        nearer = other.memory.estimate.T_cam_obj[2, 3] < depth
        if nearer and covered(box, other.box) > HIDDEN_BY:
            return f"hidden by {other.memory.id}"
    return ""


def doubles(tasks: Sequence[Task], looks: Mapping[str, Look]) -> list[tuple[Memory, Memory]]:
    """Pairs (old, young) of objects that are one: the young one has the box, is YOUNG_S old at
    most, and the old one without a box is thought to be in the same place."""
    pairs = []
    for young in tasks:
        look = looks.get(young.memory.id)
        if young.detection is None or look is None or look.score is None:
            continue
        if young.detection.track_id:
            continue
        if (look.stamp_ns - young.memory.first_stamp_ns) * 1e-9 > YOUNG_S:
            continue
        for old in tasks:
            if old.detection is not None or old.memory.category != young.memory.category:
                continue
            earlier = old.memory.first_stamp_ns < young.memory.first_stamp_ns
            if earlier and iou(old.memory.box, young.memory.box) > SAME_PLACE:
                pairs.append((old.memory, young.memory))
                break
    return pairs


def refuse_doubles(tasks: Sequence[Task], looks: dict[str, Look]) -> None:
    """Of two objects in one place, one that has no box is a mistake: its look is changed."""
    seen = [t for t in tasks if (look := looks.get(t.memory.id)) and look.score is not None]
    order = {t.memory.id: (t.detection is None, -t.memory.hits) for t in seen}
    for task in seen:
        for other in seen:
            worse = order[task.memory.id] > order[other.memory.id]
            if task is other or task.detection is not None or not worse:
                continue
            if iou(task.memory.box, other.memory.box) > SAME_PLACE:
                look = looks[task.memory.id]
                looks[task.memory.id] = replace(look, obstacle=f"{other.memory.id} is in its place")


def forgotten(memory: Memory, look: Look | None, stamp_ns: int, config: TrackerConfig) -> bool:
    """Whether an object is to be forgotten: unseen for long, or never more than a guess."""
    if memory.estimate is None or memory.standing is None:
        return memory.standing is not None  # its first box gave no pose
    standing = memory.standing
    unseen = (stamp_ns - standing.support_ns) * 1e-9
    guess = standing.state is State.LOST and standing.hits < 2
    return unseen > config.forget_after_s or (guess and look is not None and not look.boxed)


def failed(task: Task, frame: Frame, error: ValueError) -> Look:
    """A look that gave no pose."""
    return Look(frame.stamp_ns, task.detection is not None, None, obstacle=f"no pose: {error}")


def check_image(frame: Frame) -> None:
    """Raises ValueError when image and camera do not belong together."""
    image, camera = frame.image, frame.camera
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"frame image: (H, W, 3) uint8 expected, got {image.shape} {image.dtype.name}"
        )
    if image.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"frame: the image is {image.shape[1]}x{image.shape[0]} pixels but its camera says "
            f"{camera.width}x{camera.height}; is this the camera_info of another stream?"
        )
