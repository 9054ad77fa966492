# SPDX-License-Identifier: Apache-2.0
"""The shipped recording: topics, stamps, boxes and ground truth fit each other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
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


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "demo"


@pytest.fixture(scope="module")
def bag(folder: Path) -> Bag:
    return Bag(folder / "recording")


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
def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "ground_truth.csv").open(newline="") as file:
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


def test_it_is_whole_and_small(bag: Bag) -> None:
    assert bag.loss.words() == []
    types = {name: topic.msgtype for name, topic in bag.topics.items()}
    assert types == {
        IMAGE: COMPRESSED_IMAGE, INFO: CAMERA_INFO, BOXES: DETECTIONS_2D, TRUTH: DETECTIONS_3D
    }  # fmt: skip
    assert {topic.count for topic in bag.topics.values()} == {120}
    assert 1e6 < sum(path.stat().st_size for path in bag.path.iterdir()) < 7e6


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


def test_boxes_are_cars_with_ids(messages: dict[str, list[Any]]) -> None:
    for message in messages[BOXES]:
        assert [d.id for d in message.detections] == ["1", "2"]
        for detection in message.detections:
            assert detection.results[0].hypothesis.class_id == "car"
            assert 0.3 <= detection.results[0].hypothesis.score <= 1.0


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
            cuboid = np.concatenate([uv.min(0), uv.max(0)])
            overlaps.append(iou(cuboid, found[pose.id]))
    assert np.median(overlaps) > 0.8
    assert min(overlaps) > 0.65


def test_cars_stand_upright_before_the_camera_in_true_size(messages: dict[str, list[Any]]) -> None:
    azimuths = []
    for message in messages[TRUTH]:
        for pose in conversion.object_poses_from(message):
            R, t = pose.T_cam_obj[:3, :3], pose.T_cam_obj[:3, 3]
            np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(R) > 0
            assert R[1, 2] < -0.95  # the object's z points up, the camera's y down
            assert 6.0 < np.linalg.norm(t) < 25.0
            assert 4.0 < pose.size[1] < 4.7  # length, along y
            assert 1.7 < pose.size[0] < 2.2
            assert 1.3 < pose.size[2] < 1.8
            eye = -R.T @ t
            azimuths.append(np.degrees(np.arctan2(eye[0], -eye[1])))
    assert np.ptp(azimuths) > 180  # fronts, sides and rears


def test_the_table_agrees_and_the_occluders_sweep(
    table: list[dict[str, str]], messages: dict[str, list[Any]]
) -> None:
    by_key = {(int(row["stamp_ns"]), row["id"]): row for row in table}
    assert len(by_key) == len(table) == 2 * len(messages[BOXES])
    drift = []
    for message in messages[BOXES]:
        for detection in message.detections:
            row = by_key[conversion.stamp_ns(message), detection.id]
            exact = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
            assert iou(exact, box_of(detection)) > 0.75
            drift.append(np.abs(box_of(detection) - exact).max())
    assert 0.5 < np.median(drift) < 12.0  # a detector is not exact
    for name in ("1", "2"):
        hidden = [float(row["hidden"]) for row in table if row["id"] == name]
        assert min(hidden) == 0.0
        assert 0.6 < max(hidden) < 0.85
        assert sum(share > 0.3 for share in hidden) >= 10
        assert hidden[len(hidden) // 2] < 0.05  # it reappears between the sweeps
        assert sum(share < 0.05 for share in hidden) >= 30
