# SPDX-License-Identifier: Apache-2.0
"""Objects followed over frames: which box belongs to which track, and where to start from.

One `Frame` goes in, one `StepResult` comes out; everything in between is decided by the frame's
stamp, its boxes and its image, so the same frames give the same bytes live and offline. Per step:

1. the stamp is checked: not newer than the last one -> `StaleFrame`; far back -> start anew;
2. every box is checked; a bad one becomes a `Rejected` with the reason in words;
3. boxes meet tracks: by the detector's id, else by overlap (`associate`);
4. each known object is refined from its last pose, moved along with its box (`warm`); when the
   result is weak, or it is time for a check, the global search runs as well (`cold`) and the
   better explanation of the image is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from nemo_model.boxes import Box, Detection, Floats, associate, predict, reason_against
from nemo_model.errors import NemoError

if TYPE_CHECKING:
    from nemo_model.camera import Camera
    from nemo_model.estimator import Estimate

__all__ = [
    "Detection",
    "Frame",
    "PoseEstimator",
    "Rejected",
    "StaleFrame",
    "StepResult",
    "Track",
    "Tracker",
    "TrackerConfig",
]


class StaleFrame(ValueError):
    """A frame that is not newer than the one before it; it was not used."""


class PoseEstimator(Protocol):
    """What the tracker asks of an estimator (`nemo_model.estimator.Estimator` has it)."""

    def estimate(
        self, image: NDArray[np.uint8], K: Floats, box: Box, *, prior: Floats | None = None
    ) -> Estimate: ...


@dataclass(frozen=True)
class Frame:
    """image (H, W, 3) uint8 RGB, its camera, its stamp, and the boxes that belong to it."""

    image: NDArray[np.uint8]
    camera: Camera
    stamp_ns: int
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class Track:
    """An object seen in this frame. `id` is stable; `reason` says in words how it was estimated."""

    id: str
    detection: Detection
    estimate: Estimate
    hits: int
    first_stamp_ns: int
    reason: str = ""


@dataclass(frozen=True)
class Rejected:
    """A box that gave no pose, and why."""

    detection: Detection
    reason: str


@dataclass(frozen=True)
class StepResult:
    """Tracks seen in this frame (in the order of its boxes); `reset`: the clock jumped back."""

    tracks: tuple[Track, ...]
    rejected: tuple[Rejected, ...]
    reset: bool = False


@dataclass(frozen=True)
class TrackerConfig:
    """Settings; every one has a unit and says what switches it off."""

    min_iou: float = 0.3  # overlap that joins a box without an id to a track
    max_missed_frames: int = 5  # a track is dropped after so many frames without its box
    max_gap_s: float = 2.0  # all tracks are dropped when the stream paused longer; 0: never
    reset_jump_s: float = 1.0  # a stamp further back than this starts anew (a bag that loops)
    min_box_px: float = 4.0  # smaller boxes, or less than this inside the image: rejected
    still_iou: float = 0.9  # a box that overlaps its last one more than this has not moved
    weak_energy: float = 0.7  # warm energy below this share of the track's usual: weak; 0: never
    min_score: float = 0.3  # a warm estimate scored below this is weak; 0: never
    weak_every: int = 3  # while weak, the global search runs every so many frames; 0: never
    cold_every: int = 10  # the global search runs at every so many hits anyway; 0: never
    switch_gain: float = 0.05  # energy share that the global search must win by to be believed

    def __post_init__(self) -> None:
        for name in ("min_iou", "still_iou", "weak_energy", "min_score"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise NemoError(f"tracker config: {name} is {value}, it must lie in [0, 1]")
        for name in (
            "max_missed_frames",
            "max_gap_s",
            "reset_jump_s",
            "weak_every",
            "cold_every",
            "switch_gain",
        ):
            if not getattr(self, name) >= 0:
                raise NemoError(f"tracker config: {name} must not be negative")
        if not self.min_box_px >= 1.0:
            raise NemoError("tracker config: min_box_px must be at least 1")


@dataclass
class _State:
    """What is remembered of an object between frames."""

    id: str
    category: str
    box: Box
    camera: Camera
    estimate: Estimate
    first_stamp_ns: int
    reference: float  # usual energy
    hits: int = 1
    missed: int = 0
    weak_run: int = 0  # weak frames in a row


class Tracker:
    """Follows several objects of several categories. Not thread safe; one frame at a time."""

    def __init__(
        self, estimators: Mapping[str, PoseEstimator], config: TrackerConfig | None = None
    ) -> None:
        """estimators: by category name. Raises NemoError when there are none."""
        if not estimators:
            raise NemoError("tracker: no estimators given, load at least one model")
        self.estimators = dict(estimators)
        self.config = config or TrackerConfig()
        self.reset()

    def reset(self) -> None:
        """Forget every track, the clock, and the numbers given out as ids."""
        self._states: dict[str, _State] = {}
        self._last_stamp_ns: int | None = None
        self._given: dict[str, int] = {}

    def step(self, frame: Frame) -> StepResult:
        """Estimate every box of the frame.

        Raises StaleFrame (nothing changed) when the stamp is not newer than the last one, and
        ValueError when image and camera do not belong together. Bad boxes never raise.
        """
        _check_image(frame)
        reset = self._advance_clock(frame.stamp_ns)
        good, rejected = self._accept(frame)
        matched = associate(good, self._states, self.config.min_iou)
        tracks: list[Track] = []
        seen: set[str] = set()
        for detection, state in zip(good, matched, strict=True):
            try:
                if state is None:
                    state, reason = self._begin(frame, detection)
                else:
                    reason = self._follow(frame, detection, state)
            except ValueError as error:
                rejected.append(Rejected(detection, f"no pose: {error}"))
                continue
            seen.add(state.id)
            tracks.append(
                Track(state.id, detection, state.estimate, state.hits, state.first_stamp_ns, reason)
            )
        self._age(seen)
        return StepResult(tuple(tracks), tuple(rejected), reset)

    # -- clock and bookkeeping ------------------------------------------------------------------

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
            self._states.clear()
        self._last_stamp_ns = stamp_ns
        return reset

    def _age(self, seen: set[str]) -> None:
        for state in list(self._states.values()):
            state.missed = 0 if state.id in seen else state.missed + 1
            if state.missed > self.config.max_missed_frames:
                del self._states[state.id]

    def _new_id(self, detection: Detection, frame: Frame) -> str:
        if detection.track_id:
            return detection.track_id
        in_use = set(self._states) | {other.track_id for other in frame.detections}
        number = self._given.get(detection.category, 0)
        while True:
            number += 1
            name = f"{detection.category}-{number}"
            if name not in in_use:
                self._given[detection.category] = number
                return name

    def _accept(self, frame: Frame) -> tuple[list[Detection], list[Rejected]]:
        """Sort the frame's boxes into usable ones and rejected ones."""
        good: list[Detection] = []
        rejected: list[Rejected] = []
        best: dict[str, Detection] = {}  # of the boxes that share an id, the highest score
        for detection in frame.detections:
            reason = reason_against(detection, frame.camera, self.config.min_box_px)
            if reason is None and detection.category not in self.estimators:
                known = ", ".join(sorted(self.estimators))
                reason = f"no model for category {detection.category!r} (loaded: {known})"
            if reason is not None:
                rejected.append(Rejected(detection, reason))
                continue
            good.append(detection)
            rival = best.get(detection.track_id)
            if rival is None or detection.score > rival.score:
                best[detection.track_id] = detection
        twins = [d for d in good if d.track_id and d is not best[d.track_id]]
        for twin in twins:
            reason = f"a better box of this frame has the same id {twin.track_id!r}"
            rejected.append(Rejected(twin, reason))
        return [d for d in good if not any(d is twin for twin in twins)], rejected

    # -- estimation -----------------------------------------------------------------------------

    def _estimate(self, frame: Frame, detection: Detection, prior: Floats | None) -> Estimate:
        estimate = self.estimators[detection.category].estimate(
            frame.image, frame.camera.K, detection.box, prior=prior
        )
        if not (np.isfinite(estimate.T_cam_obj).all() and math.isfinite(estimate.energy)):
            raise ValueError("the solver's result is not finite")
        if estimate.T_cam_obj[2, 3] <= 0.0:
            raise ValueError("the solver put the object behind the camera")
        return estimate

    def _begin(self, frame: Frame, detection: Detection) -> tuple[_State, str]:
        estimate = self._estimate(frame, detection, None)
        state = _State(
            id=self._new_id(detection, frame),
            category=detection.category,
            box=detection.box,
            camera=frame.camera,
            estimate=estimate,
            first_stamp_ns=frame.stamp_ns,
            reference=estimate.energy,
        )
        self._states[state.id] = state
        return state, "first seen"

    def _follow(self, frame: Frame, detection: Detection, state: _State) -> str:
        """Update `state` with this frame; returns how it was done, in words."""
        config = self.config
        prior = predict(
            state.estimate.T_cam_obj,
            state.camera,
            state.box,
            frame.camera,
            detection.box,
            config.still_iou,
        )
        estimate = self._estimate(frame, detection, prior)
        weakness = self._weakness(estimate, state)
        hits = state.hits + 1
        weak_run = state.weak_run + 1 if weakness else 0
        reason = "refined from the last frame"
        due = bool(config.cold_every) and hits % config.cold_every == 0
        weak_due = bool(weakness) and bool(config.weak_every)
        weak_due = weak_due and (weak_run - 1) % config.weak_every == 0
        if due or weak_due:
            why = weakness if weak_due else "periodic check"
            cold = self._estimate(frame, detection, None)
            if cold.energy > estimate.energy * (1.0 + config.switch_gain):
                estimate, reason = cold, f"found anew by the global search ({why})"
                weak_run = 0
            else:
                reason = f"refined, and the global search found nothing better ({why})"
        elif weakness:
            reason = f"refined, weak ({weakness})"
        state.box, state.camera, state.estimate = detection.box, frame.camera, estimate
        state.hits, state.weak_run = hits, weak_run
        state.reference += 0.2 * (estimate.energy - state.reference)
        return reason

    def _weakness(self, estimate: Estimate, state: _State) -> str:
        """In words, or "" when the warm estimate is as good as this track usually is."""
        if estimate.energy < self.config.weak_energy * state.reference:
            share = 100.0 * estimate.energy / state.reference
            return f"energy at {share:.0f} % of this track's usual"
        if estimate.margin < 0.0:
            return "another orientation explains the image better"
        if estimate.score < self.config.min_score:
            return f"score {estimate.score:.2f}"
        return ""


def _check_image(frame: Frame) -> None:
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
