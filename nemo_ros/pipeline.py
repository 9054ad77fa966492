# SPDX-License-Identifier: Apache-2.0
"""Messages of one frame in, tracks out: what the live node and bag replay both run.

Nothing here knows DDS, threads or time: the same messages give the same result, live or offline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.family import load_family
from nemo_model.tracker import Frame, LateBoxes, StepResult, Tracker
from nemo_model.tracking.recognising import AUTO
from nemo_model.warm_up import warm_up as warm_up_one
from nemo_ros import conversion
from nemo_ros.rectify import Distortion, Rectifier

GEOMETRIES = ("auto", "raw", "rectified")


@dataclass(frozen=True)
class PipelineConfig:
    """How messages are read."""

    class_map: Mapping[str, str] = field(default_factory=dict)  # detector's class -> category
    use_detection_ids: bool = True  # False: boxes are joined to tracks by overlap alone
    image_geometry: str = "auto"  # rectified, raw, or auto: by "rect" in the image topic's name
    min_score: float = 0.0  # poses scored lower are not published; 0: all are

    def __post_init__(self) -> None:
        if self.image_geometry not in GEOMETRIES:
            raise NemoError(
                f"image_geometry is {self.image_geometry!r}, it must be one of "
                f"{', '.join(GEOMETRIES)}"
            )
        if not 0.0 <= self.min_score <= 1.0:
            raise NemoError(f"min_score is {self.min_score}, it must lie in [0, 1]")

    def rectified(self, image_topic: str) -> bool:
        """Whether images of this topic are free of lens distortion (so that P holds, not K)."""
        if self.image_geometry == "auto":
            return "rect" in image_topic
        return self.image_geometry == "rectified"


@dataclass(frozen=True)
class Outcome:
    """A frame and what was found in it. ``frame.image`` is rectified."""

    frame: Frame
    result: StepResult


def parse_class_map(entries: Sequence[str]) -> dict[str, str]:
    """["2=car", "*=auto"] to a mapping. Raises NemoError for an entry of another form."""
    mapping: dict[str, str] = {}
    for entry in entries:
        name, equals, category = entry.partition("=")
        if not equals or not name.strip() or not category.strip():
            raise NemoError(f"class_map: {entry!r} is not of the form 'detector_class=category'")
        mapping[name.strip()] = category.strip()
    return mapping


def load_estimators(
    model: str, threads: int = 1, providers: Sequence[str] = (), boxes: str = "whole"
) -> dict[str, Estimator]:
    """Load the bundles of a comma separated list of folders, by category.

    A folder may be a family's: its categories share one session of the backbone.

    boxes: what the detector's boxes enclose, "whole" objects or their "visible" part.

    Raises:
        BundleError: a folder that is no intact bundle.
        NemoError: no folder at all, or two bundles of one category.
    """
    found: dict[str, Estimator] = {}
    for folder in [part.strip() for part in model.split(",") if part.strip()]:
        loaded = load_family(
            Path(folder), threads=threads, providers=list(providers) or None, even_views=True,
            boxes=boxes,
        )  # fmt: skip
        for estimator in loaded:
            if estimator.category in found:
                raise NemoError(
                    f"model: {folder} is a second model of category {estimator.category!r}"
                )
            found[estimator.category] = estimator
    if not found:
        raise NemoError("model: no folder given; name the folder of a model bundle")
    return found


def warm_up(estimators: Mapping[str, Estimator]) -> None:
    """Run every model once, cold and warm, so that nothing is compiled during the first frame."""
    for estimator in estimators.values():
        warm_up_one(estimator)


class Pipeline:
    """Holds the calibration and the tracker. One thread at a time."""

    def __init__(self, tracker: Tracker, config: PipelineConfig | None = None) -> None:
        self.tracker = tracker
        self.config = config or PipelineConfig()
        if AUTO in self.config.class_map.values() and tracker.recogniser is None:
            raise NemoError(
                f"class_map: {AUTO!r} finds the category among those of one family; these models "
                f"do not share a backbone: {', '.join(tracker.estimators)}"
            )
        self._camera: Camera | None = None
        self._rectifier: Rectifier | None = None
        self._calibration: tuple[Any, ...] | None = None

    @property
    def camera(self) -> Camera | None:
        """The camera of the last usable camera_info."""
        return self._camera

    def calibrate(self, camera_info: Any, rectified: bool) -> Camera:
        """Take a CameraInfo; cheap when it is the last one again.

        Raises:
            NemoError: when it cannot be used; the calibration before it is forgotten, since the
                images that follow are no longer known to belong to it.
        """
        try:
            camera, distortion = conversion.camera_from(camera_info, rectified)
        except ValueError:
            self._camera = self._rectifier = self._calibration = None
            raise
        key = (camera.K.tobytes(), camera.width, camera.height, distortion)
        if key != self._calibration:
            self._rectifier = _rectifier(camera, distortion)
            self._camera, self._calibration = camera, key
        return camera

    def step(self, image: Any, boxes: Any | None, late: Sequence[tuple[int, Any]] = ()) -> Outcome:
        """One frame: an Image or CompressedImage and the Detection2DArray that belongs to it.

        boxes: None when they have not come (yet). late: (stamp in ns, Detection2DArray) of earlier
        images that went through without them.

        Raises:
            NemoError: no calibration yet, or an image that cannot be decoded.
            StaleFrame: a frame that is not newer than the last one.
            ValueError: image and camera do not belong together.
        """
        if self._camera is None:
            raise NemoError("camera_info: none that can be used has arrived, the frame is left out")
        pixels = conversion.image_from(image)
        if self._rectifier is not None:
            pixels = self._rectifier.image(pixels)
        frame = Frame(
            pixels,
            self._camera,
            conversion.stamp_ns(image),
            () if boxes is None else self._found(boxes),
            tuple(LateBoxes(stamp, self._found(one)) for stamp, one in late),
        )
        return Outcome(frame, _above(self.tracker.step(frame), self.config.min_score))

    def _found(self, boxes: Any) -> tuple[Detection, ...]:
        found = conversion.detections_from(
            boxes, self.config.class_map, self.config.use_detection_ids
        )
        if self._rectifier is None:
            return found
        return tuple(_rectified(one, self._rectifier) for one in found)

    def reset(self) -> None:
        """Forget the tracks, not the calibration."""
        self.tracker.reset()


def _above(result: StepResult, min_score: float) -> StepResult:
    """Objects scored below min_score are known, but not published."""
    low = [t for t in result.tracks if t.estimate.score < min_score]
    if not low:
        return result
    hidden = [replace(t, reason=f"{t.reason}; score below {min_score:g}: left out") for t in low]
    kept = tuple(t for t in result.tracks if t.estimate.score >= min_score)
    return replace(result, tracks=kept, unseen=(*hidden, *result.unseen))


def _rectifier(camera: Camera, distortion: Distortion | None) -> Rectifier | None:
    return None if distortion is None else Rectifier(camera, distortion)


def _rectified(detection: Detection, rectifier: Rectifier) -> Detection:
    box = rectifier.box(detection.box)
    return Detection(box, detection.category, detection.score, detection.track_id)
