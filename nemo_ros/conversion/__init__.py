# SPDX-License-Identifier: Apache-2.0
"""ROS messages to plain values and back: the only package that knows message fields.

Works on messages of rclpy and on messages that rosbags read from a bag, since both have the same
field names; messages are made through `nemo_ros.messages.Messages`, so the live node and replay
share every line. A message that cannot be used raises ConversionError (a NemoError) that names the
field; boxes are passed on as they are, and the tracker rejects bad ones one by one.
"""

from __future__ import annotations

from nemo_ros.conversion.reading import (
    ConversionError,
    ObjectPose,
    camera_from,
    detections_from,
    frame_id,
    image_from,
    object_poses_from,
    stamp_ns,
)
from nemo_ros.conversion.writing import (
    answered,
    boxes_message,
    camera_message,
    compressed_message,
    diagnostics_message,
    header,
    image_message,
    object_poses_message,
    object_poses_of,
    poses_message,
    states_message,
    transforms_message,
)

__all__ = [
    "ConversionError",
    "ObjectPose",
    "answered",
    "boxes_message",
    "camera_from",
    "camera_message",
    "compressed_message",
    "detections_from",
    "diagnostics_message",
    "frame_id",
    "header",
    "image_from",
    "image_message",
    "object_poses_from",
    "object_poses_message",
    "object_poses_of",
    "poses_message",
    "stamp_ns",
    "states_message",
    "transforms_message",
]
