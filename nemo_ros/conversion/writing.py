# SPDX-License-Identifier: Apache-2.0
"""Plain values to messages: poses, boxes, pictures, cameras, transforms, diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.tracker import Track
from nemo_ros.conversion.reading import NANOSECONDS, Floats, Image, ObjectPose
from nemo_ros.diagnostics import Status
from nemo_ros.messages import Messages
from nemo_ros.quaternion import quaternion_from_rotation


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
    head = header(messages, stamp, "")
    named = [replace(status, name=f"{node}: {status.name}") for status in statuses]
    return states_message(messages, head, named, hardware)


def states_message(
    messages: Messages, image_header: Any, statuses: Iterable[Status], hardware: str = "nemo_ros"
) -> Any:
    """DiagnosticArray of statuses under their own names, e.g. of a frame's objects."""
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
                name=status.name,
                message=status.message,
                hardware_id=hardware,
                values=values,
            )
        )
    return messages.make("diagnostic_msgs/msg/DiagnosticArray", header=image_header, status=array)


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


def answered(response: Any, success: bool, text: str) -> Any:
    """The response of a std_srvs/Trigger."""
    response.success, response.message = success, text
    return response
