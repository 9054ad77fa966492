# SPDX-License-Identifier: Apache-2.0
"""Messages to values and back, for rclpy's messages and for those of bags alike."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_ros import conversion
from nemo_ros.conversion import ConversionError, ObjectPose
from nemo_ros.diagnostics import Level, Status
from nemo_ros.messages import Messages, RclpyMessages, RosbagsMessages
from nemo_ros.quaternion import quaternion_from_rotation, rotation_from_quaternion

K = np.array([[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]])


@pytest.fixture(params=["rclpy", "rosbags"])
def messages(request: pytest.FixtureRequest, repository: Path) -> Messages:
    """Both libraries' messages."""
    if request.param == "rclpy":
        pytest.importorskip("vision_msgs", reason="no vision_msgs for rclpy: call make setup")
        return RclpyMessages()
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted((repository / "interfaces").glob("*/msg/*.msg")):
        name = f"{path.parent.parent.name}/msg/{path.stem}"
        store.register(get_types_from_msg(path.read_text(), name))
    return RosbagsMessages(store.types)


def header(messages: Messages) -> Any:
    return conversion.header(messages, 12_000_000_034, "camera")


def test_header_keeps_every_nanosecond(messages: Messages) -> None:
    stamp = 1_700_000_000_123_456_789
    message = conversion.boxes_message(messages, conversion.header(messages, stamp, "left"), [])
    assert conversion.stamp_ns(message) == stamp
    assert conversion.frame_id(message) == "left"


def test_image_round_trip(messages: Messages) -> None:
    image = np.random.default_rng(1).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    message = conversion.image_message(messages, header(messages), image)
    assert (message.encoding, message.step) == ("rgb8", 24)
    read = conversion.image_from(message)
    np.testing.assert_array_equal(read, image)
    assert read.flags.writeable, "a copy, not the message's memory"


def test_compressed_image(messages: Messages) -> None:
    image = np.random.default_rng(1).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    message = conversion.compressed_message(messages, header(messages), data, "png")
    np.testing.assert_array_equal(conversion.image_from(message), image)
    grey = cv2.imencode(".jpg", np.full((16, 24), 90, np.uint8))[1].tobytes()
    message = conversion.compressed_message(messages, header(messages), grey, "jpeg")
    np.testing.assert_allclose(conversion.image_from(message), 90, atol=2)
    broken = conversion.compressed_message(messages, header(messages), b"no image", "jpeg")
    with pytest.raises(NemoError, match="8 bytes are no image"):
        conversion.image_from(broken)
    empty = conversion.compressed_message(messages, header(messages), b"", "jpeg")
    with pytest.raises(NemoError, match="no bytes"):
        conversion.image_from(empty)


def test_boxes_round_trip(messages: Messages) -> None:
    boxes = (
        Detection((10.0, 20.5, 110.0, 80.5), "car", 0.75, "7"),
        Detection((-5.0, 0.0, 30.0, 40.0), "2", 0.5),
    )
    message = conversion.boxes_message(messages, header(messages), boxes)
    read = conversion.detections_from(message, {"2": "car"})
    assert read == (boxes[0], Detection(boxes[1].box, "car", 0.5))
    assert conversion.detections_from(message, {}, use_ids=False)[0].track_id == ""


def test_best_hypothesis_counts(messages: Messages) -> None:
    message = conversion.boxes_message(
        messages,
        header(messages),
        [
            Detection((0, 0, 9, 9), "low", 0.2),
            Detection((0, 0, 9, 9), "high", 0.8),
            Detection((0, 0, 9, 9), "nan", float("nan")),
        ],
    )
    first, second, third = message.detections
    first.results = [third.results[0], first.results[0], second.results[0]]
    second.results = []
    read = conversion.detections_from(message, {})
    assert (read[0].category, read[0].score) == ("high", 0.8)
    assert (read[1].category, read[1].score) == ("", 1.0)
    assert np.isnan(read[2].score)


@pytest.mark.parametrize("field", ["x", "size_x"])
def test_nan_in_a_box_is_passed_on(messages: Messages, field: str) -> None:
    """The tracker rejects it; the other boxes of the frame are not lost."""
    message = conversion.boxes_message(
        messages, header(messages), [Detection((0, 0, 9, 9), "car"), Detection((1, 1, 5, 5), "car")]
    )
    box = message.detections[0].bbox
    setattr(box.center.position if field == "x" else box, field, float("nan"))
    bad, good = conversion.detections_from(message, {})
    assert not np.isfinite(bad.box).all()
    assert good.box == (1.0, 1.0, 5.0, 5.0)


def test_camera_round_trip(messages: Messages) -> None:
    message = conversion.camera_message(messages, header(messages), Camera(K, 640, 480))
    for rectified in (True, False):
        camera, distortion = conversion.camera_from(message, rectified)
        np.testing.assert_array_equal(camera.K, K)
        assert (camera.width, camera.height, distortion) == (640, 480, None)


def test_camera_region_and_binning(messages: Messages) -> None:
    """A point of the full image and of the cut and binned one is the same ray."""
    message = conversion.camera_message(messages, header(messages), Camera(K, 640, 480))
    message.roi.x_offset, message.roi.y_offset = 100, 40
    message.roi.width, message.roi.height = 320, 200
    message.binning_x, message.binning_y = 2, 4
    camera, _ = conversion.camera_from(message, rectified=False)
    assert (camera.width, camera.height) == (160, 50)
    point = np.array([[0.3, -0.2, 2.0]])
    full = Camera(K, 640, 480).project(point)[0]
    np.testing.assert_allclose(camera.project(point)[0], (full - [100, 40]) / [2, 4])


def test_rectified_topic_uses_p_and_raw_uses_k(messages: Messages) -> None:
    message = conversion.camera_message(messages, header(messages), Camera(K, 640, 480))
    P = np.array([[400.0, 0, 300, 0], [0, 400, 200, 0], [0, 0, 1, 0]])
    message.p = P.reshape(12)
    message.d = messages.floats(np.array([-0.3, 0.1, 0.0, 0.0, 0.0]))
    camera, distortion = conversion.camera_from(message, rectified=True)
    np.testing.assert_array_equal(camera.K, P[:, :3])
    assert distortion is None
    camera, distortion = conversion.camera_from(message, rectified=False)
    np.testing.assert_array_equal(camera.K, K)
    assert distortion is not None
    assert distortion.coefficients[:2] == (-0.3, 0.1)


@pytest.mark.parametrize(
    ("change", "rectified", "text"),
    [
        ({"k": np.zeros(9)}, False, "K is zero, the camera is not calibrated"),
        ({"k": np.zeros(9)}, True, "K is zero, the camera is not calibrated"),
        ({"k": np.full(9, np.nan)}, False, "NaN"),
        ({"p": np.zeros(12)}, True, "P is zero"),
        ({"p": np.array([400.0, 0, 300, -40, 0, 400, 200, 0, 0, 0, 1, 0])}, True, "baseline"),
        ({"width": 0}, False, "size 0 x 480"),
        ({"distortion_model": "odd", "d": [1.0]}, False, "distortion_model 'odd'"),
        ({"d": [1.0, 0.0]}, False, "D has 2 coefficients"),
        ({"d": [np.inf, 0.0, 0.0, 0.0, 0.0]}, False, "D holds NaN"),
    ],
)
def test_cameras_that_are_refused(
    messages: Messages, change: dict[str, Any], rectified: bool, text: str
) -> None:
    message = conversion.camera_message(messages, header(messages), Camera(K, 640, 480))
    for field, value in change.items():
        if isinstance(value, list):
            value = messages.floats(np.array(value))
        setattr(message, field, value)
    with pytest.raises(NemoError, match=text):
        conversion.camera_from(message, rectified)


def rotations() -> st.SearchStrategy[np.ndarray]:
    """Rotations, those of 180 degrees among them."""
    vector = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)
    return st.builds(
        lambda v, angle: cv2.Rodrigues(np.array(v) / np.linalg.norm(v) * angle)[0],
        vector,
        st.one_of(st.floats(0, np.pi), st.just(np.pi)),
    )


@given(rotations())
def test_quaternions_there_and_back(R: np.ndarray) -> None:
    q = quaternion_from_rotation(R)
    assert q[3] >= 0
    np.testing.assert_allclose(np.linalg.norm(q), 1.0)
    np.testing.assert_allclose(rotation_from_quaternion(q), R, atol=1e-9)


def object_pose() -> ObjectPose:
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array([0.3, -1.2, 0.4]))[0]
    T[:3, 3] = (1.0, -2.0, 9.0)
    covariance = np.arange(36, dtype=np.float64).reshape(6, 6)
    return ObjectPose(
        "car-1", "car", 0.875, T, covariance + covariance.T, np.array([1.8, 4.2, 1.5])
    )


def test_object_poses_round_trip(messages: Messages) -> None:
    pose = object_pose()
    message = conversion.object_poses_message(messages, header(messages), [pose])
    (read,) = conversion.object_poses_from(message)
    assert (read.id, read.category, read.score) == ("car-1", "car", 0.875)
    np.testing.assert_allclose(read.T_cam_obj, pose.T_cam_obj, atol=1e-12)
    np.testing.assert_array_equal(read.covariance, pose.covariance)
    np.testing.assert_array_equal(read.size, pose.size)
    assert conversion.stamp_ns(message.detections[0]) == conversion.stamp_ns(message)
    assert message.detections[0].bbox.center.position.z == 9.0


def test_object_poses_that_are_refused(messages: Messages) -> None:
    message = conversion.object_poses_message(messages, header(messages), [object_pose()])
    message.detections[0].results[0].pose.pose.orientation.w = 3.0
    with pytest.raises(ConversionError, match="not a unit quaternion"):
        conversion.object_poses_from(message)
    message.detections[0].results = []
    with pytest.raises(ConversionError, match="'car-1': results is empty"):
        conversion.object_poses_from(message)


def test_diagnostics_message(messages: Messages) -> None:
    status = Status("input", Level.WARN, "boxes: empty", {"boxes problems": "2"})
    message = conversion.diagnostics_message(messages, 5, "nemo/pose_node", "hw", [status])
    (read,) = message.status
    assert read.name == "nemo/pose_node: input"
    assert read.level in (1, b"\x01")
    assert [(pair.key, pair.value) for pair in read.values] == [("boxes problems", "2")]


def test_rclpy_takes_image_bytes_as_they_are() -> None:
    """array('B') is assigned without a look at every value."""
    data = RclpyMessages().data(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert isinstance(data, array)
    assert data.typecode == "B"
    assert data.tolist() == [0, 1, 2, 3, 4, 5]
