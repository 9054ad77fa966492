# SPDX-License-Identifier: Apache-2.0
"""The shipped recordings: topics, stamps, boxes and ground truth fit each other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nemo_model.overlay import corners
from nemo_ros import conversion
from nemo_ros.bags import Bag
from nemo_ros.bagtypes import CAMERA_INFO, COMPRESSED_IMAGE, DETECTIONS_2D, DETECTIONS_3D

IMAGE, INFO = "/camera/image/compressed", "/camera/camera_info"
BOXES, TRUTH = "/detections", "/ground_truth/poses"
RATE_NS = 100_000_000


@dataclass(frozen=True)
class Kind:
    """An object as the recording must have it: extents x, y, z in metres, most hidden share."""

    id: str
    category: str
    size: tuple[float, float, float]
    hidden: tuple[float, float]  # the largest hidden share lies between these


@dataclass(frozen=True)
class Expected:
    """A recording: where it lies in demo/, frames, megabytes, objects, distances in metres."""

    bag: str
    frames: int
    megabytes: float
    objects: tuple[Kind, ...]
    distance: tuple[float, float]


RECORDINGS = (
    Expected(
        "recording", 120, 7.0,
        (
            Kind("1", "car", (2.04, 4.36, 1.55), (0.6, 0.85)),
            Kind("2", "car", (2.09, 4.63, 1.63), (0.6, 0.85)),
        ),
        (6.0, 25.0),
    ),
    Expected(
        "household/recording", 90, 4.5,
        (
            Kind("1", "sofa", (1.92, 0.90, 1.00), (0.4, 0.85)),
            Kind("2", "diningtable", (1.10, 0.70, 0.75), (0.4, 0.85)),
            Kind("3", "chair", (0.46, 0.57, 0.92), (0.4, 0.85)),
            Kind("4", "car", (2.04, 4.36, 1.55), (0.4, 0.85)),
        ),
        (2.5, 12.0),
    ),
)  # fmt: skip


@pytest.fixture(scope="module", params=RECORDINGS, ids=lambda one: one.bag)
def expected(request: pytest.FixtureRequest) -> Expected:
    return request.param


@pytest.fixture(scope="module")
def bag(repository: Path, expected: Expected) -> Bag:
    return Bag(repository / "demo" / expected.bag)


@pytest.fixture(scope="module")
def messages(bag: Bag) -> dict[str, list[Any]]:
    """Every message by topic, decoded."""
    found: dict[str, list[Any]] = {name: [] for name in (IMAGE, INFO, BOXES, TRUTH)}
    for raw in bag.messages(dict.fromkeys(found, 0)):
        message = bag.decode(raw)
        assert message is not None
        assert conversion.stamp_ns(message) == raw.log_ns
        found[raw.topic].append(message)
    return found


@pytest.fixture(scope="module")
def table(bag: Bag) -> list[dict[str, str]]:
    with (bag.path.parent / "ground_truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def box_of(detection: Any) -> NDArray[np.float64]:
    """(x1, y1, x2, y2) of a Detection2D."""
    centre, w, h = detection.bbox.center.position, detection.bbox.size_x, detection.bbox.size_y
    return np.array([centre.x - w / 2, centre.y - h / 2, centre.x + w / 2, centre.y + h / 2])


def iou(a: Sequence[float] | NDArray[Any], b: Sequence[float] | NDArray[Any]) -> float:
    lo, hi = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod(np.maximum(hi - lo, 0.0)))
    area = [float(np.prod(np.subtract(box[2:], box[:2]))) for box in (a, b)]
    return common / (area[0] + area[1] - common)


def test_it_is_whole_and_small(bag: Bag, expected: Expected) -> None:
    assert bag.loss.words() == []
    types = {name: topic.msgtype for name, topic in bag.topics.items()}
    assert types == {
        IMAGE: COMPRESSED_IMAGE, INFO: CAMERA_INFO, BOXES: DETECTIONS_2D, TRUTH: DETECTIONS_3D
    }  # fmt: skip
    assert {topic.count for topic in bag.topics.values()} == {expected.frames}
    megabytes = sum(path.stat().st_size for path in bag.path.iterdir()) / 1e6
    assert 1.0 < megabytes < expected.megabytes


def test_stamps_agree_and_step_by_a_tenth_of_a_second(messages: dict[str, list[Any]]) -> None:
    stamps = {name: [conversion.stamp_ns(m) for m in found] for name, found in messages.items()}
    assert len({tuple(times) for times in stamps.values()}) == 1
    assert set(np.diff(stamps[IMAGE])) == {RATE_NS}
    frames = {m.header.frame_id for found in messages.values() for m in found}
    assert frames == {"camera_optical_frame"}


def test_images_have_the_calibrated_size(messages: dict[str, list[Any]]) -> None:
    camera, distortion = conversion.camera_from(messages[INFO][0], rectified=False)
    assert distortion is None
    for message in messages[IMAGE][::20]:
        image = conversion.image_from(message)
        assert image.shape == (camera.height, camera.width, 3)
        assert 60 < image.mean() < 190  # exposed
        assert image.std() > 25


def test_boxes_have_classes_and_ids(messages: dict[str, list[Any]], expected: Expected) -> None:
    wanted = [(kind.id, kind.category) for kind in expected.objects]
    for message in messages[BOXES]:
        found = [(d.id, d.results[0].hypothesis.class_id) for d in message.detections]
        assert found == wanted
        for detection in message.detections:
            assert 0.3 <= detection.results[0].hypothesis.score <= 1.0
    for message in messages[TRUTH]:
        poses = conversion.object_poses_from(message)
        assert [(pose.id, pose.category) for pose in poses] == wanted


def test_the_projected_cuboid_is_the_box(messages: dict[str, list[Any]]) -> None:
    """A cuboid around the car sticks out of its silhouette's box, but not by much."""
    camera, _ = conversion.camera_from(messages[INFO][0], rectified=False)
    overlaps = []
    for truth, boxes in zip(messages[TRUTH], messages[BOXES], strict=True):
        found = {d.id: box_of(d) for d in boxes.detections}
        for pose in conversion.object_poses_from(truth):
            points = corners(pose.size) @ pose.T_cam_obj[:3, :3].T + pose.T_cam_obj[:3, 3]
            assert (points[:, 2] > 1.0).all()
            uv = camera.project(points)
            edge = [camera.width - 1.0, camera.height - 1.0]  # boxes end there
            cuboid = np.concatenate([np.clip(uv.min(0), 0.0, edge), np.clip(uv.max(0), 0.0, edge)])
            overlaps.append(iou(cuboid, found[pose.id]))
    assert np.median(overlaps) > 0.8
    assert min(overlaps) > 0.65


def test_objects_stand_upright_before_the_camera_in_true_size(
    messages: dict[str, list[Any]], expected: Expected
) -> None:
    azimuths = []
    near, far = expected.distance
    for message in messages[TRUTH]:
        for pose, kind in zip(conversion.object_poses_from(message), expected.objects, strict=True):
            R, t = pose.T_cam_obj[:3, :3], pose.T_cam_obj[:3, 3]
            np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(R) > 0
            assert R[1, 2] < -0.9  # the object's z points up, the camera's y down
            assert near < np.linalg.norm(t) < far
            np.testing.assert_allclose(pose.size, kind.size, atol=0.01)
            eye = -R.T @ t
            azimuths.append(np.degrees(np.arctan2(eye[0], -eye[1])))
    assert np.ptp(azimuths) > 180  # fronts, sides and rears


def test_the_camera_is_at_the_height_of_a_hand(messages: dict[str, list[Any]]) -> None:
    for message in messages[TRUTH]:
        for pose in conversion.object_poses_from(message):
            eye = -pose.T_cam_obj[:3, :3].T @ pose.T_cam_obj[:3, 3]
            assert 1.2 < eye[2] + pose.size[2] / 2 < 2.0


def test_the_table_agrees_and_the_occluders_sweep(
    table: list[dict[str, str]], messages: dict[str, list[Any]], expected: Expected
) -> None:
    by_key = {(int(row["stamp_ns"]), row["id"]): row for row in table}
    assert len(by_key) == len(table) == len(expected.objects) * len(messages[BOXES])
    drift = []
    for message in messages[BOXES]:
        for detection in message.detections:
            row = by_key[conversion.stamp_ns(message), detection.id]
            exact = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
            inside = np.clip(exact, 0.0, [639.0, 359.0, 639.0, 359.0])
            assert iou(inside, box_of(detection)) > 0.75
            drift.append(np.abs(box_of(detection) - inside).max())
    assert 0.5 < np.median(drift) < 12.0  # a detector is not exact
    for kind in expected.objects:
        hidden = [float(row["hidden"]) for row in table if row["id"] == kind.id]
        low, high = kind.hidden
        assert min(hidden) < 0.05
        assert low < max(hidden) < high
        assert sum(share > 0.3 for share in hidden) >= 10
        assert sum(share < 0.05 for share in hidden) >= 10
        worst = hidden.index(max(hidden))  # it was seen well before the sweep, or is after it
        assert min(hidden[worst:]) < 0.3


def test_boxes_are_large_enough(table: list[dict[str, str]], expected: Expected) -> None:
    for kind in expected.objects:
        sides = [
            max(float(row["x2"]) - float(row["x1"]), float(row["y2"]) - float(row["y1"]))
            for row in table
            if row["id"] == kind.id
        ]
        assert np.mean(np.array(sides) >= 60.0) > 0.9
