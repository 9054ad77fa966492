# SPDX-License-Identifier: Apache-2.0
"""An estimator whose answers the test decides, and frames to feed a tracker with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nemo_model.boxes import Box
from nemo_model.camera import Camera, CropCamera, crop_camera
from nemo_model.tracker import Detection, Frame, LateBoxes

CAMERA = Camera(np.array([[400.0, 0, 320], [0, 400.0, 180], [0, 0, 1]]), 640, 360)
CAR_HEIGHT = 1.5


@dataclass(frozen=True)
class FakeEstimate:
    """The fields of nemo_model.estimator.Estimate that tracking and replay look at."""

    T_cam_obj: np.ndarray
    energy: float
    score: float
    mode: str
    crop: CropCamera
    category: str = "car"
    covariance: np.ndarray = field(default_factory=lambda: np.eye(6) * 1e-2)
    visible_fraction: float = 1.0
    occlusion: np.ndarray = field(default_factory=lambda: np.ones((16, 24), np.int8))
    margin: float = 1.0
    leaning: float = 0.0
    size: np.ndarray = field(default_factory=lambda: np.array([1.8, 4.5, CAR_HEIGHT]))
    milliseconds: Mapping[str, float] = field(default_factory=lambda: {"total": 1.0})

    @property
    def rotation(self) -> np.ndarray:
        return self.T_cam_obj[:3, :3]


@dataclass
class Call:
    image: np.ndarray
    box: Box
    prior: np.ndarray | None
    trust_box: bool = True


@dataclass(frozen=True)
class Seen:
    """What FakeEstimator makes of a box: the box itself."""

    image: np.ndarray
    K: np.ndarray
    box: Box


class FakeEstimator:
    """Puts an upright object of CAR_HEIGHT where the box says, with a chosen energy and score.

    Warm, it keeps the prior's pose. `answer(mode, number_of_the_call)` gives (energy, score).
    """

    def __init__(self, answer: Callable[[str, int], tuple[float, float]] | None = None) -> None:
        self.answer = answer or (lambda mode, number: (10.0, 0.9))
        self.calls: list[Call] = []
        self.observed: list[Box] = []
        self.category = "car"
        self.boxes = "whole"

    def observe_many(self, image: np.ndarray, K: np.ndarray, boxes: Sequence[Box]) -> list[Seen]:
        self.observed += boxes
        return [Seen(image, K, box) for box in boxes]

    def solve(self, seen: Seen, *, prior: np.ndarray | None = None, trust_box: bool = True) -> Any:
        self.calls.append(Call(seen.image, seen.box, prior, trust_box))
        mode = "cold" if prior is None else "warm"
        energy, score = self.answer(mode, len(self.calls))
        T = pose_at(seen.K, seen.box) if prior is None else prior.copy()
        camera = Camera(seen.K, seen.image.shape[1], seen.image.shape[0])
        crop = crop_camera(camera, seen.box, 192, 128)
        return FakeEstimate(T, energy, score, mode, crop)

    def estimate(
        self, image: np.ndarray, K: np.ndarray, box: Box, *, prior: np.ndarray | None = None
    ) -> Any:
        return self.solve(self.observe_many(image, K, [box])[0], prior=prior)

    @property
    def modes(self) -> list[str]:
        return ["cold" if call.prior is None else "warm" for call in self.calls]


def pose_at(K: np.ndarray, box: Box) -> np.ndarray:
    """An upright pose (4, 4) seen from the front, that fills the box's height."""
    T = np.eye(4)
    T[:3, :3] = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    z = K[1, 1] * CAR_HEIGHT / (box[3] - box[1])
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
    T[:3, 3] = z * np.linalg.solve(K, centre)
    return T


def frame(
    stamp_s: float,
    *boxes: Box | Detection,
    camera: Camera = CAMERA,
    category: str = "car",
    late: tuple[LateBoxes, ...] = (),
) -> Frame:
    """A grey frame with these boxes."""
    image = np.full((camera.height, camera.width, 3), 90, np.uint8)
    detections = tuple(b if isinstance(b, Detection) else Detection(b, category) for b in boxes)
    return Frame(image, camera, round(stamp_s * 1e9), detections, late)
