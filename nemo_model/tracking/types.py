# SPDX-License-Identifier: Apache-2.0
"""What goes into the tracker and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nemo_model.boxes import Box, Detection, Floats
from nemo_model.tracking.states import State

if TYPE_CHECKING:
    from nemo_model.camera import Camera
    from nemo_model.estimator import Estimate


class StaleFrame(ValueError):
    """A frame that is not newer than the one before it; it was not used."""


class PoseEstimator(Protocol):
    """What the tracker asks of an estimator (`nemo_model.estimator.Estimator` has it).

    An estimator may have `symmetry` (nemo_model.symmetry.Symmetry); without it there is none.
    `gains` is asked where observations are those of nemo_model.estimate.
    """

    def observe_many(
        self, image: NDArray[np.uint8], K: Floats, boxes: Sequence[Box]
    ) -> Sequence[Any]: ...

    def solve(
        self, seen: Any, *, prior: Floats | None = None, trust_box: bool = True
    ) -> Estimate: ...

    def gains(self, seen: Any, estimate: Any) -> Floats: ...


@dataclass(frozen=True)
class LateBoxes:
    """Boxes of an image that went through the tracker before without them."""

    stamp_ns: int
    detections: tuple[Detection, ...]


@dataclass(frozen=True)
class Frame:
    """image (H, W, 3) uint8 RGB, its camera, its stamp, and the boxes that belong to it.

    late: boxes of earlier frames that have come since the last frame.
    """

    image: NDArray[np.uint8]
    camera: Camera
    stamp_ns: int
    detections: tuple[Detection, ...]
    late: tuple[LateBoxes, ...] = ()


@dataclass(frozen=True)
class Track:
    """An object that is known. `id` is stable.

    Attributes:
        estimate: of this frame where the image supports it, else the last one moved on; its
            `score` is what is known about this frame.
        hits: frames that supported it.
        reason: in words, how it was estimated or why not.
        state: tentative, tracking, occluded or lost.
        box: where it is in this frame: a smoothed box of the detector, or the predicted one.
        detection: the box of this frame; None when there is none.
        predicted: the pose is the last one moved on, not looked up in this frame's image.
    """

    id: str
    detection: Detection | None
    estimate: Estimate
    hits: int
    first_stamp_ns: int
    reason: str = ""
    state: State = State.TRACKING
    box: Box = (0.0, 0.0, 0.0, 0.0)
    predicted: bool = False


@dataclass(frozen=True)
class Rejected:
    """A box that gave no pose, and why."""

    detection: Detection
    reason: str


@dataclass(frozen=True)
class StepResult:
    """What is known after a frame.

    Attributes:
        tracks: objects with a pose that is worth publishing, those with a box in its order first.
        rejected: boxes that could not be used.
        reset: the clock jumped back, everything was forgotten.
        unseen: known objects without such a pose: hidden or lost.
        spent_ms: by the cost model of the budget.
        waiting: objects that did not get their turn in this frame.
    """

    tracks: tuple[Track, ...]
    rejected: tuple[Rejected, ...]
    reset: bool = False
    unseen: tuple[Track, ...] = ()
    spent_ms: float = 0.0
    waiting: int = 0
