# SPDX-License-Identifier: Apache-2.0
"""Boxes that come after their image: looked up in that image, and carried to the present.

A detector takes its time. The images that went by meanwhile were followed by prediction; when the
boxes of an earlier one come, each object is refined there. Where that agrees with what was
believed, the object is confirmed and its box corrected; else, and for a new object, its pose is
followed again through the images since then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from nemo_model.boxes import Box, Detection, Floats, iou, predict
from nemo_model.tracking.association import Expected, associate
from nemo_model.tracking.looking import solve
from nemo_model.tracking.memory import Memory, Past, Picture, Task
from nemo_model.tracking.recognising import recognise, weighed
from nemo_model.tracking.roll import rolled
from nemo_model.tracking.states import Look, begin, judge
from nemo_model.tracking.types import Frame, LateBoxes, Rejected

if TYPE_CHECKING:
    from nemo_model.camera import Camera
    from nemo_model.tracker import Tracker
    from nemo_model.tracking.budget import Purse

AGREES_DEG, AGREES_IOU = 12.0, 0.6
"""A pose and a box this near to what was believed confirm it."""


@dataclass(frozen=True)
class Absorbed:
    """rest: the boxes that the budget did not suffice for, to be brought again."""

    rejected: tuple[Rejected, ...] = ()
    rest: LateBoxes | None = None


def absorb(tracker: Tracker, late: LateBoxes, purse: Purse) -> Absorbed:
    """Take late boxes into the tracker's memories; the present frame comes after this."""
    picture = next((p for p in tracker.pictures if p.stamp_ns == late.stamp_ns), None)
    good, rejected = tracker.accept(
        late.detections, tracker.pictures[-1].camera if picture is None else picture.camera
    ) if tracker.pictures else (list(late.detections), [])  # fmt: skip
    if picture is None:
        text = f"came late, and the image of its stamp {late.stamp_ns} is not kept (any more)"
        return Absorbed((*rejected, *(Rejected(one, text) for one in good)))
    config = tracker.config
    names = _join(tracker, good, picture)
    since = [p for p in tracker.pictures if p.stamp_ns > picture.stamp_ns]
    for number, (detection, name) in enumerate(zip(good, names, strict=True)):
        memory = tracker.memories.get(name) if name is not None else None
        first = memory is None or memory.past(picture.stamp_ns) is None
        solving = config.cost_warm_ms
        if first:
            solving = config.cost_cold_ms * tracker.searches(memory, detection)
        if not purse.pay(config.cost_observe_ms + solving):
            return Absorbed(tuple(rejected), LateBoxes(late.stamp_ns, tuple(good[number:])))
        try:
            _take(tracker, detection, memory, good, picture, since, purse)
        except ValueError as error:
            rejected.append(Rejected(detection, f"no pose: {error}"))
    return Absorbed(tuple(rejected))


def _join(tracker: Tracker, good: Sequence[Detection], picture: Picture) -> list[str | None]:
    """By where the objects were then; those that were not known yet, by where they are."""
    expected: dict[str, Expected] = {}
    for name, memory in tracker.memories.items():
        past = memory.past(picture.stamp_ns)
        box = memory.box if past is None else past.box
        expected[name] = Expected(memory.category, box, 0.3 if memory.lost else 0.0, memory.lost)
    return associate(good, expected, tracker.config.min_iou)


def _take(
    tracker: Tracker, detection: Detection, memory: Memory | None, others: Sequence[Detection],
    picture: Picture, since: Sequence[Picture], purse: Purse,
) -> None:  # fmt: skip
    stamp, camera, config = picture.stamp_ns, picture.camera, tracker.config
    if memory is None:
        memory = tracker.new_memory(detection, others, camera, stamp)
    estimator = tracker.estimators[memory.model]
    past = None if memory.estimate is None else memory.past(stamp)
    (seen,) = estimator.observe_many(picture.image, camera.K, [detection.box])
    box, prior = detection.box, None
    if past is not None and not memory.lost:
        box = memory.smoothed(detection.box, past.box, camera)  # once: it learns
        prior = predict(past.T, camera, past.box, camera, box, config.still_iou)
    try:
        found = recognise(memory, seen, tracker.recogniser, tracker.config, purse)
        if found is not None:
            prior, (estimate, how) = None, found
        else:
            estimate = solve(estimator, seen, prior, memory.symmetry)
            how = "first seen" if prior is None else "refined on its own image"
        estimate = weighed(estimate, memory)
    except ValueError:
        if memory.estimate is None:
            del tracker.memories[memory.id]
        raise
    look = Look(stamp, True, estimate.score, f"{how}, by a box that came late")
    confirmed = past is not None and past.supported and not memory.lost and found is None
    if confirmed and past is not None and _agrees(past, estimate.T_cam_obj, detection.box, memory):
        assert memory.standing is not None
        memory.standing = judge(memory.standing, look, config)
        turned = rolled(estimate.T_cam_obj, sum(one.roll for one in since))
        memory.trust(turned, camera, stamp, fresh=False)
        _correct(memory, past, estimate.T_cam_obj, box)
        return
    memory.place(estimate, detection.box, camera, stamp)
    turned = rolled(estimate.T_cam_obj, sum(one.roll for one in since))
    memory.trust(turned, camera, stamp, fresh=past is None or memory.lost)
    memory.reference = memory.reference or estimate.energy
    memory.standing = judge(memory.standing or begin(look), look, tracker.config)
    memory.remember(True, stamp, estimate.T_cam_obj, detection.box, camera)
    cost, going = config.cost_observe_ms + config.cost_warm_ms, True
    for later in since:
        memory.roll_estimate(later.roll)
        going = going and purse.pay(cost)
        if going:
            _follow(tracker, memory, later, purse)


def _follow(tracker: Tracker, memory: Memory, picture: Picture, purse: Purse) -> None:
    """One frame of catching up, at the predicted box."""
    frame = Frame(picture.image, picture.camera, picture.stamp_ns, ())
    box = memory.box_at(memory.pose_at(frame.stamp_ns, tracker.config), frame.camera)
    task = Task(memory, None, box)
    try:
        (task.seen,) = tracker.estimators[memory.model].observe_many(
            frame.image, frame.camera.K, [box]
        )
        estimate, how, prior = tracker.first_look(task, frame, purse)
        look = tracker.settle(task, estimate, how, prior, frame, purse)
    except ValueError:
        return
    assert memory.standing is not None
    memory.standing = judge(memory.standing, look, tracker.config)
    ahead = memory.pose_at(frame.stamp_ns, tracker.config)
    supported = memory.stamp_ns == frame.stamp_ns
    memory.remember(supported, frame.stamp_ns, ahead, memory.box, frame.camera)


def _agrees(past: Past, T: Floats, box: Box, memory: Memory) -> bool:
    turn = memory.symmetry.angle(T[:3, :3], past.T[:3, :3])
    return math.degrees(turn) < AGREES_DEG and iou(past.box, box) > AGREES_IOU


def _correct(memory: Memory, past: Past, T: Floats, box: Box) -> None:
    """Move the present by what was found now of a past frame, against what was believed then.

    The rotation by the same turn about the camera's axes, the distance and the box by the same
    factors; what was remembered since then likewise, so that the next late box finds it corrected.
    """
    assert memory.estimate is not None
    turn = T[:3, :3] @ past.T[:3, :3].T
    old, new = np.array(past.box), np.array(box)

    def moved(pose: Floats, place: Box, camera: Camera) -> tuple[Floats, Box]:
        here = np.array(place)
        scale = (here[2:] - here[:2]) / np.maximum(old[2:] - old[:2], 1e-6)
        x1, y1, x2, y2 = (float(v) for v in here + (new - old) * np.tile(scale, 2))
        if x2 - x1 < 1.0 or y2 - y1 < 1.0:
            return pose, place
        result = predict(pose, camera, place, camera, (x1, y1, x2, y2))
        result[:3, 3] *= T[2, 3] / past.T[2, 3] * pose[2, 3] / result[2, 3]
        result[:3, :3] = Rotation.from_matrix(turn @ pose[:3, :3]).as_matrix()  # stays a rotation
        return result, (x1, y1, x2, y2)

    memory.follow(*moved(memory.estimate.T_cam_obj, memory.box, memory.camera))
    for k, one in enumerate(memory.history):
        if one.stamp_ns >= past.stamp_ns:
            pose, place = moved(one.T, one.box, one.camera)
            memory.history[k] = Past(one.stamp_ns, pose, place, one.camera, one.supported)
