# SPDX-License-Identifier: Apache-2.0
"""Messages to plain values: images, cameras, boxes, poses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_ros.images import decode_compressed, decode_raw
from nemo_ros.quaternion import rotation_from_quaternion
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
        class_map: the detector's class_id -> category of a model, "*" for every other one and for
            none; without it others keep their name.
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
        category=class_map.get(category, class_map.get("*", category)),
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
