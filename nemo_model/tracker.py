# SPDX-License-Identifier: Apache-2.0
"""Objects followed over frames: which box belongs to which object, and where it is in between.

One `Frame` goes in, one `StepResult` comes out, decided by the frame's stamp, boxes and image
alone: the same frames give the same bytes live and offline. Per step:

1. the stamp is checked: not newer than the last one -> `StaleFrame`; far back -> start anew;
2. late boxes are looked up in their own image and carried forward (`tracking.late`);
3. every object is predicted, and boxes meet objects by id, overlap or place;
4. as many as may be are looked at, by a global search or from the prediction; the others coast;
5. every object's state is judged. `docs/tracking.md` says what the states mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nemo_model.boxes import Detection, predict
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.symmetry import NONE
from nemo_model.tracking.association import associate
from nemo_model.tracking.budget import Clock, Purse
from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.contest import First, contest
from nemo_model.tracking.effort import take_turns, turn
from nemo_model.tracking.intake import Accepted, accept
from nemo_model.tracking.late import absorb
from nemo_model.tracking.looking import CHANGES, doubted, refine, search, solve
from nemo_model.tracking.memory import Memory, Picture, Task
from nemo_model.tracking.motion import held, swung
from nemo_model.tracking.observing import observe
from nemo_model.tracking.outcome import (
    check_image,
    doubles,
    failed,
    forgotten,
    obstacle,
    refuse_doubles,
    track_of,
)
from nemo_model.tracking.recognising import AUTO, recognise, recogniser_of, searches, weighed
from nemo_model.tracking.roll import RollFollower
from nemo_model.tracking.states import Look, State, begin, judge, supports
from nemo_model.tracking.types import (
    Frame,
    LateBoxes,
    PoseEstimator,
    Rejected,
    StaleFrame,
    StepResult,
    Track,
)

__all__ = [
    "Detection",
    "Frame",
    "LateBoxes",
    "PoseEstimator",
    "Rejected",
    "StaleFrame",
    "State",
    "StepResult",
    "Track",
    "Tracker",
    "TrackerConfig",
]


class Tracker:
    """Follows several objects of several categories. Not thread safe; one frame at a time."""

    def __init__(
        self,
        estimators: Mapping[str, PoseEstimator],
        config: TrackerConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        """estimators: by category name. clock: seconds, for a budget that is kept in time too.

        Raises NemoError when there are no estimators.
        """
        if not estimators:
            raise NemoError("tracker: no estimators given, load at least one model")
        self.estimators = dict(estimators)
        self.recogniser = recogniser_of(self.estimators)
        self.config = config or TrackerConfig()
        self.clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget every object, the clock, and the numbers given out as ids."""
        self.memories: dict[str, Memory] = {}
        self.pictures: deque[Picture] = deque()
        self._camera = RollFollower()
        self._late: list[LateBoxes] = []
        self._last_stamp_ns: int | None = None
        self._given: dict[str, int] = {}

    def step(self, frame: Frame) -> StepResult:
        """Take a frame.

        Raises StaleFrame (nothing changed) when the stamp is not newer than the last one, and
        ValueError when image and camera do not belong together. Bad boxes never raise.
        """
        check_image(frame)
        reset = self._advance_clock(frame.stamp_ns)
        purse = Purse(self.config, self.clock)
        rejected: list[Rejected] = []
        waiting = sorted([*self._late, *frame.late], key=lambda one: one.stamp_ns)
        self._late = []
        for late in waiting:
            done = absorb(self, late, purse)
            rejected += done.rejected
            self._late += [] if done.rest is None else [done.rest]
        self._camera.follow(frame, self.memories.values(), self.config.roll_corners)
        good, bad = self.accept(frame.detections, frame.camera)
        rejected += bad
        names = self.join(good, frame.stamp_ns, frame.camera)
        tasks = [
            self._task(detection, name, frame) for detection, name in zip(good, names, strict=True)
        ]
        tasks += self._unboxed(tasks, frame)
        looks = self._work(tasks, frame, purse)
        for task in tasks:
            look = looks.get(task.memory.id)
            if look is not None and look.score is None and task.detection is not None:
                rejected.append(Rejected(task.detection, look.obstacle))
        self._judge(looks, frame)
        self._keep(frame)
        return self._result(tasks, looks, rejected, frame, reset, purse)

    # -- clock, boxes, ids --------------------------------------------------------------------

    def _advance_clock(self, stamp_ns: int) -> bool:
        """Returns True when the clock jumped back so far that everything was forgotten."""
        last = self._last_stamp_ns
        reset = False
        if last is not None and stamp_ns <= last:
            back_s = (last - stamp_ns) * 1e-9
            if back_s <= self.config.reset_jump_s:
                raise StaleFrame(
                    f"frame stamp {stamp_ns} is not newer than the last one ({last}, "
                    f"{back_s:.3f} s ahead): the frame was left out"
                )
            self.reset()
            reset = True
        elif last is not None and 0 < self.config.max_gap_s < (stamp_ns - last) * 1e-9:
            self.memories.clear()
            self.pictures.clear()
        self._last_stamp_ns = stamp_ns
        return reset

    def _new_id(self, detection: Detection, others: Sequence[Detection]) -> str:
        if detection.track_id:
            return detection.track_id
        in_use = set(self.memories) | {other.track_id for other in others}
        number = self._given.get(detection.category, 0)
        while True:
            number += 1
            name = f"{detection.category}-{number}"
            if name not in in_use:
                self._given[detection.category] = number
                return name

    def accept(self, boxes: Sequence[Detection], camera: Camera) -> Accepted:
        """Sort boxes into usable ones and rejected ones."""
        known = sorted(self.estimators) + [AUTO] * (self.recogniser is not None)
        return accept(boxes, camera, known, self.config.min_box_px)

    def searches(self, memory: Memory | None, detection: Detection) -> int:
        """How many global searches the first look at an object takes."""
        category = detection.category if memory is None else memory.category
        return searches(category, self.recogniser)

    def join(
        self, detections: Sequence[Detection], stamp_ns: int, camera: Camera
    ) -> list[str | None]:
        """The object of each box, None for a new one."""
        expected = {
            name: memory.expected(stamp_ns, camera, self.config)
            for name, memory in self.memories.items()
        }
        return associate(detections, expected, self.config.min_iou)

    def new_memory(
        self, detection: Detection, others: Sequence[Detection], camera: Camera, stamp_ns: int
    ) -> Memory:
        """An object that was not known before."""
        name = self._new_id(detection, others)
        kind = next(iter(self.estimators)) if detection.category == AUTO else detection.category
        symmetry = getattr(self.estimators[kind], "symmetry", NONE)
        memory = Memory(
            name, detection.category, detection.box, camera, stamp_ns, stamp_ns, symmetry
        )
        memory.kind = kind
        self.memories[name] = memory
        return memory

    # -- what is looked at ----------------------------------------------------------------------

    def _task(self, detection: Detection, name: str | None, frame: Frame) -> Task:
        if name is None:
            memory = self.new_memory(detection, frame.detections, frame.camera, frame.stamp_ns)
            return Task(memory, detection, detection.box)
        memory = self.memories[name]
        if memory.estimate is None:
            memory.box, memory.camera = detection.box, frame.camera
            return Task(memory, detection, detection.box)
        ahead = memory.pose_at(frame.stamp_ns, self.config)
        expected = memory.box_at(ahead, frame.camera)
        return Task(memory, detection, memory.smoothed(detection.box, expected, frame.camera))

    def _unboxed(self, tasks: Sequence[Task], frame: Frame) -> list[Task]:
        """Objects without a box, at their predicted one; lost ones are not looked for."""
        boxed = {task.memory.id for task in tasks}
        result = []
        for memory in list(self.memories.values()):
            if memory.id in boxed:
                continue
            if memory.estimate is None:  # it never had its turn, and is no longer seen
                del self.memories[memory.id]
                continue
            ahead = memory.pose_at(frame.stamp_ns, self.config)
            result.append(Task(memory, None, memory.box_at(ahead, frame.camera)))
        return result

    def _work(self, tasks: Sequence[Task], frame: Frame, purse: Purse) -> dict[str, Look]:
        """Look at as many objects as settings and budget allow."""
        config, left = self.config, self.config.look_most or len(tasks)
        looks: dict[str, Look] = {}
        chosen: list[Task] = []
        refined: list[First] = []
        for task in sorted(tasks, key=turn):
            memory = task.memory
            why = "" if task.detection is not None else obstacle(task, tasks, frame, config)
            if why:
                looks[memory.id] = Look(frame.stamp_ns, False, None, obstacle=why)
                memory.waited = 0
                continue
            first = memory.estimate is None
            solving = config.cost_warm_ms
            if first:
                solving = config.cost_cold_ms * searches(memory.category, self.recogniser)
            if not left or not purse.pay(config.cost_observe_ms + solving):
                memory.waited, memory.waited_ns = memory.waited + 1, frame.stamp_ns
                continue
            memory.waited, left = 0, left - 1
            chosen.append(task)
            if purse.timed:  # one by one: the clock decides about the next
                refined += self._first_looks(chosen, frame, purse, looks)
                chosen = []
        refined += self._first_looks(chosen, frame, purse, looks)
        settled = contest(refined, self.estimators, config, purse)
        take_turns(settled, config)
        for one in settled:
            name = one.task.memory.id
            try:
                looks[name] = self.settle(one.task, one.estimate, one.how, one.prior, frame, purse)
            except ValueError as error:
                looks[name] = failed(one.task, frame, error)
        for old, young in doubles(tasks, looks):
            self._merge(old, young, looks)
        refuse_doubles(tasks, looks)
        return looks

    def _first_looks(
        self, chosen: Sequence[Task], frame: Frame, purse: Purse, looks: dict[str, Look]
    ) -> list[First]:
        """Observe and refine; what fails is noted in `looks`."""
        observe(chosen, frame, self.estimators, looks)
        refined: list[First] = []
        for task in chosen:
            if task.seen is None:
                continue
            try:
                refined.append(First(task, *self.first_look(task, frame, purse)))
            except ValueError as error:
                looks[task.memory.id] = failed(task, frame, error)
        return refined

    def first_look(self, task: Task, frame: Frame, purse: Purse) -> tuple[Any, str, Any]:
        """The estimate of a look, how it was found, and the predicted pose (None for a new one)."""
        memory = task.memory
        if task.detection is not None:
            found = recognise(memory, task.seen, self.recogniser, self.config, purse)
            if found is not None:
                return (*found, None)
        estimator = self.estimators[memory.model]
        if memory.estimate is None:
            return solve(estimator, task.seen, None, memory.symmetry), "first seen", None
        prior = memory.pose_at(frame.stamp_ns, self.config)
        # a box of the visible part shrinks where the object is hidden, which is no motion
        if task.detection is not None and getattr(estimator, "boxes", "whole") == "whole":
            followed = predict(
                memory.estimate.T_cam_obj,
                memory.camera,
                memory.box,
                frame.camera,
                task.box,
                self.config.still_iou,
            )
            # with a box, the last rotation is a better start than one turned on
            if not memory.motion.drifting:
                followed[:3, :3] = swung(memory.estimate.T_cam_obj, followed[:3, 3])
            prior = followed
        estimate, how = refine(
            estimator, memory, task.seen, prior, self.config, purse, task.detection is not None
        )
        return estimate, how, prior

    def settle(
        self, task: Task, estimate: Any, how: str, prior: Any, frame: Frame, purse: Purse
    ) -> Look:
        """Search further if need be, and take the result into the memory."""
        memory, estimator = task.memory, self.estimators[task.memory.model]
        if prior is None:
            memory.reference = estimate.energy
        else:
            estimate, how = search(
                estimator, memory, task.seen, estimate, how, self.config, purse,
                task.detection is not None, task.turn,
            )  # fmt: skip
        boxed, standing = task.detection is not None, memory.standing
        unboxed_s = 0.0
        if not boxed and standing is not None:
            unboxed_s = (frame.stamp_ns - standing.box_ns) * 1e-9
            estimate = replace(estimate, T_cam_obj=held(estimate.T_cam_obj, prior))
        estimate = weighed(doubted(estimate, memory, unboxed_s), memory)
        look = Look(frame.stamp_ns, boxed, estimate.score, how)
        standing = standing or begin(look)
        if boxed or supports(standing, look, self.config):
            fresh = memory.lost or how.startswith(CHANGES)
            if boxed and prior is not None and not fresh:
                estimate = memory.steadied(estimate, frame.stamp_ns, self.config)
            box = task.box if boxed else memory.box_at(estimate.T_cam_obj, frame.camera)
            memory.place(estimate, box, frame.camera, frame.stamp_ns)
            if boxed:
                memory.trust(estimate.T_cam_obj, frame.camera, frame.stamp_ns, fresh)
            memory.reference += 0.2 * (estimate.energy - memory.reference)
        return look

    def _merge(self, old: Memory, young: Memory, looks: dict[str, Look]) -> None:
        """An object that had jumped was begun anew: the new one goes on under the old one's id."""
        if young.id not in self.memories or old.id not in self.memories:
            return
        del self.memories[young.id]
        looks[old.id] = looks.pop(young.id)
        if young.standing is None and old.standing is not None:
            young.standing = replace(old.standing, state=State.TENTATIVE)
        young.id, young.first_stamp_ns = old.id, old.first_stamp_ns
        self.memories[young.id] = young

    # -- after the looks ----------------------------------------------------------------------

    def _judge(self, looks: Mapping[str, Look], frame: Frame) -> None:
        for memory in list(self.memories.values()):
            look = looks.get(memory.id)
            if look is not None:
                memory.looked_ns = look.stamp_ns
                memory.standing = judge(memory.standing or begin(look), look, self.config)
            if forgotten(memory, look, frame.stamp_ns, self.config):
                del self.memories[memory.id]

    def _keep(self, frame: Frame) -> None:
        """Remember where everything was, and the image, for boxes that come late."""
        for memory in self.memories.values():
            if memory.estimate is None or memory.standing is None:
                continue
            ahead = memory.pose_at(frame.stamp_ns, self.config)
            box = memory.box_at(ahead, frame.camera)
            supported = memory.standing.support_ns == frame.stamp_ns
            memory.remember(supported, frame.stamp_ns, ahead, box, frame.camera)
        roll = self._camera.angle
        self.pictures.append(Picture(frame.image, frame.camera, frame.stamp_ns, roll))
        while len(self.pictures) > self.config.buffer_frames:
            self.pictures.popleft()

    def _result(
        self, tasks: Sequence[Task], looks: Mapping[str, Look], rejected: list[Rejected],
        frame: Frame, reset: bool, purse: Purse,
    ) -> StepResult:  # fmt: skip
        shown: list[Track] = []
        unseen: list[Track] = []
        waiting = 0
        for task in tasks:
            memory = task.memory
            known = self.memories.get(memory.id) is memory
            waiting += known and memory.waited > 0
            if not known or memory.estimate is None:
                continue
            track, worth = track_of(task, looks.get(memory.id), frame, self.config)
            (shown if worth else unseen).append(track)
        return StepResult(tuple(shown), tuple(rejected), reset, tuple(unseen), purse.spent, waiting)
