# SPDX-License-Identifier: Apache-2.0
"""ROS messages to plain values and back: the only module that knows message fields.

Works on messages of rclpy and on messages that rosbags read from a bag, since both have the same
field names; messages are made through `nemo_ros.messages.Messages`, so the live node and replay
share every line. A message that cannot be used raises ConversionError (a NemoError) that names the
field; boxes are passed on as they are, and the tracker rejects bad ones one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.tracker import Track
from nemo_ros.diagnostics import Status
from nemo_ros.images import decode_compressed, decode_raw
from nemo_ros.messages import Messages
from nemo_ros.quaternion import quaternion_from_rotation, rotation_from_quaternion
from nemo_ros.rectify import Distortion

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
NANOSECONDS = 1_000_000_000


class ConversionError(NemoError):
    """A message whose content cannot be used."""


@dataclass(frozen=True)
class ObjectPose:
    """One object of a Detection3DArray: T_cam_obj (4, 4), covariance (6, 6), size (3,) metres."""

    id: str
    category: str
    score: float
    T_cam_obj: Floats
    covariance: Floats
    size: Floats


# -- reading ----------------------------------------------------------------------------------


def stamp_ns(message: Any) -> int:
    """Stamp of a message with a header, in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def frame_id(message: Any) -> str:
    """Frame of a message with a header."""
    return str(message.header.frame_id)


def image_from(message: Any) -> Image:
    """Image or CompressedImage to (H, W, 3) uint8 RGB, a copy.

    Raises:
        ImageError: for an encoding, size or content that gives no picture.
    """
    data = np.frombuffer(message.data, dtype=np.uint8)
    if hasattr(message, "format"):
        return decode_compressed(data)
    return decode_raw(
        str(message.encoding),
        int(message.width),
        int(message.height),
        int(message.step),
        bool(message.is_bigendian),
        data,
    )


def camera_from(message: Any, rectified: bool) -> tuple[Camera, Distortion | None]:
    """CameraInfo to the pinhole camera of its images, with region of interest and binning applied.

    Args:
        rectified: the images are rectified, so P holds; else K, and D says how they are distorted.

    Returns:
        The camera, and the distortion that its images still have (None when there is none).

    Raises:
        ConversionError: for an uncalibrated camera, or the second camera of a stereo pair.
        NemoError: for a distortion model that is not known.
    """
    K = np.array(message.k, dtype=np.float64).reshape(3, 3)
    P = np.array(message.p, dtype=np.float64).reshape(3, 4)
    if not (np.isfinite(K).all() and np.isfinite(P).all()):
        raise ConversionError("camera_info: K or P holds NaN or infinite values")
    if K[0, 0] == 0.0:
        raise ConversionError("camera_info: K is zero, the camera is not calibrated")
    distortion = None
    if rectified:
        if P[0, 0] == 0.0:
            raise ConversionError(
                "camera_info: P is zero, so these cannot be rectified images; "
                "set image_geometry to 'raw' or fix the driver"
            )
        if P[0, 3] != 0.0 or P[1, 3] != 0.0:
            raise ConversionError(
                "camera_info: P has a baseline (second camera of a stereo pair), poses would not "
                "be in the frame of its header; use the first camera"
            )
        K = P[:, :3].copy()
    elif any(float(value) != 0.0 for value in message.d):
        distortion = Distortion(
            str(message.distortion_model), tuple(float(value) for value in message.d)
        )
    roi = message.roi
    width, height = int(roi.width) or int(message.width), int(roi.height) or int(message.height)
    binning = (max(int(message.binning_x), 1), max(int(message.binning_y), 1))
    # The convention of image_geometry: the region is cut at full resolution, then binned.
    K[0, 2] -= float(roi.x_offset)
    K[1, 2] -= float(roi.y_offset)
    K[0] /= binning[0]
    K[1] /= binning[1]
    return Camera(K, width // binning[0], height // binning[1]), distortion


def detections_from(
    message: Any, class_map: Mapping[str, str], use_ids: bool = True
) -> tuple[Detection, ...]:
    """Detection2DArray to boxes, as they are: what is wrong with one is told by the tracker.

    Args:
        class_map: the detector's class_id -> category of a model; others keep their name.
        use_ids: take the detector's ids as track ids.
    """
    return tuple(_detection(one, class_map, use_ids) for one in message.detections)


def _detection(message: Any, class_map: Mapping[str, str], use_ids: bool) -> Detection:
    centre, box = message.bbox.center.position, message.bbox
    x, y = float(centre.x), float(centre.y)
    half_w, half_h = float(box.size_x) / 2, float(box.size_y) / 2
    hypotheses = [result.hypothesis for result in message.results]
    category, score = "", 1.0
    if hypotheses:
        # one that is not a number loses against any other
        best = max(hypotheses, key=lambda h: -math.inf if math.isnan(h.score) else h.score)
        category, score = str(best.class_id), float(best.score)
    return Detection(
        box=(x - half_w, y - half_h, x + half_w, y + half_h),
        category=class_map.get(category, category),
        score=score,
        track_id=str(message.id) if use_ids else "",
    )


def object_poses_from(message: Any) -> tuple[ObjectPose, ...]:
    """Detection3DArray (our output, or ground truth in the same form) to poses.

    Raises:
        ConversionError: for an object without a hypothesis or with a quaternion that is none.
    """
    poses = []
    for one in message.detections:
        if not one.results:
            raise ConversionError(f"detection {one.id!r}: results is empty, so it has no pose")
        result = one.results[0]
        pose = result.pose.pose
        q = pose.orientation
        T = np.eye(4)
        try:
            T[:3, :3] = rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w], dtype=np.float64))
        except ValueError as error:
            raise ConversionError(f"detection {one.id!r}: {error}") from error
        T[:3, 3] = (pose.position.x, pose.position.y, pose.position.z)
        size = one.bbox.size
        poses.append(
            ObjectPose(
                id=str(one.id),
                category=str(result.hypothesis.class_id),
                score=float(result.hypothesis.score),
                T_cam_obj=T,
                covariance=np.array(result.pose.covariance, dtype=np.float64).reshape(6, 6),
                size=np.array([size.x, size.y, size.z], dtype=np.float64),
            )
        )
    return tuple(poses)


# -- writing ----------------------------------------------------------------------------------


def header(messages: Messages, stamp: int, frame: str) -> Any:
    """std_msgs/Header of a stamp in nanoseconds."""
    return messages.make("std_msgs/msg/Header", stamp=_time(messages, stamp), frame_id=frame)


def object_poses_of(tracks: Iterable[Track]) -> tuple[ObjectPose, ...]:
    """The tracks as they are published, live and in replay."""
    return tuple(
        ObjectPose(
            id=track.id,
            category=track.estimate.category,
            score=track.estimate.score,
            T_cam_obj=track.estimate.T_cam_obj,
            covariance=track.estimate.covariance,
            size=track.estimate.size,
        )
        for track in tracks
    )


def poses_message(messages: Messages, image_header: Any, tracks: Sequence[Track]) -> Any:
    """Detection3DArray of a frame's tracks; empty when there are none. Header: the image's."""
    return object_poses_message(messages, image_header, object_poses_of(tracks))


def object_poses_message(messages: Messages, image_header: Any, poses: Iterable[ObjectPose]) -> Any:
    """Detection3DArray of poses, e.g. of ground truth."""
    return messages.make(
        "vision_msgs/msg/Detection3DArray",
        header=image_header,
        detections=[_detection_3d(messages, image_header, pose) for pose in poses],
    )


def _detection_3d(messages: Messages, image_header: Any, pose: ObjectPose) -> Any:
    ros_pose = _pose(messages, pose.T_cam_obj)
    result = messages.make(
        "vision_msgs/msg/ObjectHypothesisWithPose",
        hypothesis=messages.make(
            "vision_msgs/msg/ObjectHypothesis",
            class_id=pose.category,
            score=float(np.clip(pose.score, 0.0, 1.0)),
        ),
        pose=messages.make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=ros_pose,
            covariance=np.ascontiguousarray(pose.covariance, dtype=np.float64).reshape(36),
        ),
    )
    box = messages.make(
        "vision_msgs/msg/BoundingBox3D", center=ros_pose, size=_vector(messages, pose.size)
    )
    return messages.make(
        "vision_msgs/msg/Detection3D", header=image_header, results=[result], bbox=box, id=pose.id
    )


def boxes_message(messages: Messages, image_header: Any, detections: Iterable[Detection]) -> Any:
    """Detection2DArray of boxes (what a detector would publish)."""
    found = []
    for one in detections:
        x1, y1, x2, y2 = (float(v) for v in one.box)
        result = messages.make(
            "vision_msgs/msg/ObjectHypothesisWithPose",
            hypothesis=messages.make(
                "vision_msgs/msg/ObjectHypothesis", class_id=one.category, score=float(one.score)
            ),
            pose=messages.make(
                "geometry_msgs/msg/PoseWithCovariance",
                pose=_pose(messages, np.eye(4)),
                covariance=np.zeros(36),
            ),
        )
        centre = messages.make(
            "vision_msgs/msg/Pose2D",
            position=messages.make("vision_msgs/msg/Point2D", x=(x1 + x2) / 2, y=(y1 + y2) / 2),
            theta=0.0,
        )
        box = messages.make(
            "vision_msgs/msg/BoundingBox2D", center=centre, size_x=x2 - x1, size_y=y2 - y1
        )
        found.append(
            messages.make(
                "vision_msgs/msg/Detection2D",
                header=image_header,
                results=[result],
                bbox=box,
                id=one.track_id,
            )
        )
    return messages.make("vision_msgs/msg/Detection2DArray", header=image_header, detections=found)


def image_message(messages: Messages, image_header: Any, image: Image) -> Any:
    """Image in rgb8 of (H, W, 3) uint8 RGB."""
    height, width = image.shape[:2]
    return messages.make(
        "sensor_msgs/msg/Image",
        header=image_header,
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=messages.data(image),
    )


def compressed_message(messages: Messages, image_header: Any, data: bytes, kind: str) -> Any:
    """CompressedImage of a file's bytes; kind "jpeg" or "png"."""
    return messages.make(
        "sensor_msgs/msg/CompressedImage",
        header=image_header,
        format=kind,
        data=messages.data(np.frombuffer(data, dtype=np.uint8)),
    )


def camera_message(messages: Messages, image_header: Any, camera: Camera) -> Any:
    """CameraInfo of a rectified pinhole camera: K, P and no distortion."""
    P = np.zeros((3, 4))
    P[:, :3] = camera.K
    roi = messages.make(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0,
        y_offset=0,
        height=0,
        width=0,
        do_rectify=False,
    )
    return messages.make(
        "sensor_msgs/msg/CameraInfo",
        header=image_header,
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=messages.floats(np.zeros(5)),
        k=np.ascontiguousarray(camera.K, dtype=np.float64).reshape(9),
        r=np.eye(3).reshape(9),
        p=P.reshape(12),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def transforms_message(
    messages: Messages, image_header: Any, tracks: Sequence[Track], prefix: str
) -> Any:
    """TFMessage: camera frame -> one frame per track, named ``prefix/id``."""
    transforms = []
    for track in tracks:
        pose = track.estimate.T_cam_obj
        transforms.append(
            messages.make(
                "geometry_msgs/msg/TransformStamped",
                header=image_header,
                child_frame_id=f"{prefix}/{track.id}",
                transform=messages.make(
                    "geometry_msgs/msg/Transform",
                    translation=_vector(messages, pose[:3, 3]),
                    rotation=_quaternion(messages, pose[:3, :3]),
                ),
            )
        )
    return messages.make("tf2_msgs/msg/TFMessage", transforms=transforms)


def diagnostics_message(
    messages: Messages, stamp: int, node: str, hardware: str, statuses: Iterable[Status]
) -> Any:
    """DiagnosticArray; every status is named ``node: name``."""
    array = []
    for status in statuses:
        values = [
            messages.make("diagnostic_msgs/msg/KeyValue", key=str(key), value=str(value))
            for key, value in status.values.items()
        ]
        array.append(
            messages.make(
                "diagnostic_msgs/msg/DiagnosticStatus",
                level=messages.byte(int(status.level)),
                name=f"{node}: {status.name}",
                message=status.message,
                hardware_id=hardware,
                values=values,
            )
        )
    return messages.make(
        "diagnostic_msgs/msg/DiagnosticArray", header=header(messages, stamp, ""), status=array
    )


def _time(messages: Messages, stamp: int) -> Any:
    return messages.make(
        "builtin_interfaces/msg/Time", sec=stamp // NANOSECONDS, nanosec=stamp % NANOSECONDS
    )


def _vector(messages: Messages, values: Floats) -> Any:
    x, y, z = (float(v) for v in values)
    return messages.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def _quaternion(messages: Messages, R: Floats) -> Any:
    x, y, z, w = (float(v) for v in quaternion_from_rotation(R))
    return messages.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def _pose(messages: Messages, T: Floats) -> Any:
    x, y, z = (float(v) for v in T[:3, 3])
    return messages.make(
        "geometry_msgs/msg/Pose",
        position=messages.make("geometry_msgs/msg/Point", x=x, y=y, z=z),
        orientation=_quaternion(messages, T[:3, :3]),
    )
