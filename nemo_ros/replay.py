# SPDX-License-Identifier: Apache-2.0
"""A bag through the very pipeline of the live node, without DDS: joiner, conversion, tracker.

Messages are taken in the order of recording, as a subscriber would get them, and no frame is
dropped. What comes out depends on the bag and the settings alone, to the byte; what depends on the
machine (times) is kept apart in `FrameRecord.milliseconds`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_model.tracker import StaleFrame, Tracker, TrackerConfig
from nemo_ros import conversion
from nemo_ros.bags import Bag, BagError, Topic
from nemo_ros.bagtypes import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    DETECTIONS_2D,
    DETECTIONS_3D,
    IMAGE,
)
from nemo_ros.conversion import ObjectPose
from nemo_ros.joiner import Joiner
from nemo_ros.pipeline import Outcome, Pipeline, PipelineConfig
from nemo_ros.quaternion import quaternion_from_rotation
from nemo_ros.scoring import Answer
from nemo_ros.stash import Stash

IMAGES = (IMAGE, COMPRESSED_IMAGE)


@dataclass(frozen=True)
class Topics:
    """The topics that are replayed; ground_truth "" when there is none."""

    image: str
    camera_info: str
    detections: str
    ground_truth: str = ""


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of the pipeline, as the node's parameters have them."""

    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    join_tolerance_ns: int = 0
    join_buffer: int = 10
    limit: int = 0  # frames; 0: all
    answer_on_image: bool = False  # answer images at once; boxes that come later are caught up


@dataclass(frozen=True)
class FrameRecord:
    """A frame that went through the pipeline. milliseconds: decode (of the bag), step, total."""

    stamp_ns: int
    frame_id: str
    outcome: Outcome
    milliseconds: Mapping[str, float]

    def answer(self) -> Answer:
        """What was estimated, in the form that scoring takes."""
        return Answer(self.stamp_ns, poses_of(self.outcome))


@dataclass(frozen=True)
class Problem:
    """An input that could not be used, and survived."""

    stamp_ns: int
    kind: str
    text: str

    def __str__(self) -> str:
        named = self.text.startswith(f"{self.kind}:")
        return self.text if named else f"{self.kind}: {self.text}"


@dataclass
class Tally:
    """What was counted while replaying."""

    frames: int = 0
    problems: list[Problem] = field(default_factory=list)
    images_without_boxes: int = 0
    boxes_without_image: int = 0


def choose_topics(
    bag: Bag, image: str = "", camera_info: str = "", detections: str = "", ground_truth: str = ""
) -> Topics:
    """Names that were given are checked; the others are found by their type.

    Among several images the raw one is taken before its own compressed copy; among several
    camera_infos the one beside the image. Anything less clear has to be told.

    Raises:
        BagError: naming what is missing or unclear, and what the bag holds.
    """
    image_topic = _pick(bag, image, IMAGES, "images", "--image-topic", _raw_before_compressed)
    info_topic = _pick(
        bag,
        camera_info,
        (CAMERA_INFO,),
        "camera_info",
        "--camera-info-topic",
        lambda found: _beside(found, image_topic.name),
    )
    boxes_topic = _pick(
        bag, detections, (DETECTIONS_2D,), "boxes", "--detections-topic", lambda found: found
    )
    if ground_truth:
        bag.require(ground_truth, (DETECTIONS_3D,), "ground truth")
    return Topics(image_topic.name, info_topic.name, boxes_topic.name, ground_truth)


def _pick(
    bag: Bag, name: str, msgtypes: tuple[str, ...], what: str, option: str, narrow: Any
) -> Topic:
    if name:
        return bag.require(name, msgtypes, what)
    found = bag.of_type(msgtypes)
    if not found:
        wanted = " or ".join(msgtypes)
        raise BagError(f"{bag.path}: no topic with {what} ({wanted}); {bag.listing()}")
    filled = [topic for topic in found if topic.count] or found
    left: list[Topic] = narrow(filled)
    if len(left) > 1:
        names = ", ".join(topic.name for topic in left)
        raise BagError(f"{bag.path}: several topics with {what}: {names}; choose with {option}")
    return left[0]


def _raw_before_compressed(found: list[Topic]) -> list[Topic]:
    names = {topic.name for topic in found}
    return [t for t in found if t.name.removesuffix("/compressed") not in names - {t.name}]


def _beside(found: list[Topic], image: str) -> list[Topic]:
    """camera_info in the image's namespace; image_transport puts it beside the raw image."""
    parent = image.removesuffix("/compressed").rpartition("/")[0]
    return [t for t in found if t.name == f"{parent}/camera_info"] or found


def read_truth(bag: Bag, topic: str) -> dict[int, tuple[ObjectPose, ...]]:
    """Ground truth by stamp. Raises ConversionError for an object without a pose."""
    truth: dict[int, tuple[ObjectPose, ...]] = {}
    for raw in bag.messages({topic: 0}):
        message = bag.decode(raw)
        if message is not None:
            truth[conversion.stamp_ns(message)] = conversion.object_poses_from(message)
    return truth


def replay(
    bag: Bag, topics: Topics, tracker: Tracker, config: ReplayConfig, tally: Tally
) -> Iterator[FrameRecord]:
    """Every frame of the bag that has an image, boxes and a calibration. Fills `tally`."""
    pipeline = Pipeline(tracker, config.pipeline)
    rectified = config.pipeline.rectified(topics.image)
    joiner: Joiner[Any, Any] = Joiner(config.join_buffer, config.join_tolerance_ns)
    stash: Stash[Any] = Stash(config.join_buffer)
    # at one time of recording: calibration, boxes, image
    ranks = {topics.camera_info: 0, topics.detections: 1, topics.image: 2}
    for raw in bag.messages(ranks):
        begin = time.perf_counter()
        message = bag.decode(raw)
        if message is None:
            continue
        if raw.topic == topics.camera_info:
            try:
                pipeline.calibrate(message, rectified)
            except ValueError as error:
                stamp = conversion.stamp_ns(message)
                tally.problems.append(Problem(stamp, "camera_info", str(error)))
            continue
        stamp = conversion.stamp_ns(message)
        if config.answer_on_image:
            if raw.topic == topics.detections:
                stash.put(stamp, message)
                tally.boxes_without_image = stash.dropped
                continue
            boxes = stash.take(stamp, config.join_tolerance_ns)
            now = time.perf_counter()
            record = _frame(pipeline, message, boxes.own, (begin, now), tally, boxes.late)
            tally.images_without_boxes += boxes.own is None
            if record is not None:
                yield record
            if config.limit and tally.frames >= config.limit:
                return
            continue
        add = joiner.add_image if raw.topic == topics.image else joiner.add_boxes
        pair = add(stamp, message)
        tally.images_without_boxes = joiner.dropped.images
        tally.boxes_without_image = joiner.dropped.boxes
        if pair is None:
            continue
        joined = time.perf_counter()
        record = _frame(pipeline, pair.image, pair.boxes, (begin, joined), tally)
        if record is not None:
            yield record
        if config.limit and tally.frames >= config.limit:
            return


def _frame(
    pipeline: Pipeline, image: Any, boxes: Any | None, times: tuple[float, float], tally: Tally,
    late: Sequence[tuple[int, Any]] = (),
) -> FrameRecord | None:  # fmt: skip
    stamp = conversion.stamp_ns(image)
    try:
        outcome = pipeline.step(image, boxes, late)
    except StaleFrame as error:
        tally.problems.append(Problem(stamp, "order", str(error)))
        return None
    except ValueError as error:
        tally.problems.append(Problem(stamp, "image", str(error)))
        return None
    end = time.perf_counter()
    begin, joined = times
    tally.frames += 1
    tally.problems += [Problem(stamp, "boxes", r.reason) for r in outcome.result.rejected]
    spent = {
        "decode": 1e3 * (joined - begin),
        "step": 1e3 * (end - joined),
        "total": 1e3 * (end - begin),
    }
    return FrameRecord(stamp, conversion.frame_id(image), outcome, spent)


def poses_of(outcome: Outcome) -> tuple[ObjectPose, ...]:
    """The frame's tracks as they are published."""
    return conversion.object_poses_of(outcome.result.tracks)


# -- as plain values, for JSON --------------------------------------------------------------------


def frame_json(record: FrameRecord) -> dict[str, Any]:
    """A frame for the JSON file: nothing in it depends on the machine's speed."""
    outcome = record.outcome
    return {
        "stamp_ns": record.stamp_ns,
        "reset": outcome.result.reset,
        "objects": [_object_json(track) for track in outcome.result.tracks],
        "unseen": [
            {"id": track.id, "state": str(track.state), "reason": track.reason}
            for track in outcome.result.unseen
        ],
        "rejected": [
            {
                "box": numbers(r.detection.box),
                "category": r.detection.category,
                "id": r.detection.track_id,
                "reason": r.reason,
            }
            for r in outcome.result.rejected
        ],
    }


def _object_json(track: Any) -> dict[str, Any]:
    estimate = track.estimate
    return {
        "id": track.id,
        "category": estimate.category,
        "score": numbers(estimate.score),
        "position_m": numbers(estimate.T_cam_obj[:3, 3]),
        "quaternion_xyzw": numbers(quaternion_from_rotation(estimate.T_cam_obj[:3, :3])),
        "covariance": numbers(estimate.covariance),
        "size_m": numbers(estimate.size),
        "visible_fraction": numbers(estimate.visible_fraction),
        "energy": numbers(estimate.energy),
        "mode": estimate.mode,
        "hits": track.hits,
        "state": str(track.state),
        "reason": track.reason,
        "predicted": track.predicted,
        "box": numbers(track.box),
    }


def config_json(config: ReplayConfig) -> dict[str, Any]:
    """The settings, to be written beside every result."""
    values = asdict(config)
    values["pipeline"]["class_map"] = dict(config.pipeline.class_map)
    return values


def numbers(values: float | Sequence[float] | NDArray[Any]) -> Any:
    """Python floats, nested as the array is; NaN and infinite ones become None."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        value = float(array)
        return value if math.isfinite(value) else None
    return [numbers(row) for row in array]
