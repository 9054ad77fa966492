# SPDX-License-Identifier: Apache-2.0
"""Rendered frames and ground truth to the bag that ships: camera effects, boxes, messages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from maker import timeline, truth
from maker.timeline import Timeline
from maker.truth import Truth
from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_ros import conversion
from nemo_ros.bags import BagWriter
from nemo_ros.bagtypes import CAMERA_INFO, COMPRESSED_IMAGE, DETECTIONS_2D, DETECTIONS_3D
from nemo_ros.conversion import ObjectPose

Image = npt.NDArray[np.uint8]

IMAGE_TOPIC = "/camera/image/compressed"
INFO_TOPIC = "/camera/camera_info"
BOXES_TOPIC = "/detections"
TRUTH_TOPIC = "/ground_truth/poses"
FRAME_ID = "camera_optical_frame"

NOISE = 1.2
"""Sensor noise, standard deviation in grey levels."""
JITTER = 0.012
"""Standard deviation of each side of a box, share of the box's size; half of it drifts slowly."""


def camera_effects(image: Image, rng: np.random.Generator) -> Image:
    """Return a frame (H, W, 3) BGR with a little vignetting, lens blur and sensor noise."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    r2 = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width / 2) ** 2
    soft = cv2.GaussianBlur(image, (0, 0), 0.45).astype(np.float32)
    soft *= (1.0 - 0.10 * r2)[:, :, None].astype(np.float32)
    grain = rng.normal(0.0, NOISE, (height, width, 1)) + rng.normal(0.0, 0.6, image.shape)
    return np.clip(soft + grain, 0, 255).astype(np.uint8)


def detector_boxes(truths: Sequence[Truth], rng: np.random.Generator) -> list[list[Detection]]:
    """Return, per frame, amodal boxes with jitter as a tracking detector would give them.

    The jitter is white noise plus a drift with a memory of about half a second, and grows with
    the hidden share, as does the doubt in the score.
    """
    frames = sorted({t.frame for t in truths})
    drift = {t.track_id: np.zeros(4) for t in truths}
    boxes: list[list[Detection]] = [[] for _ in frames]
    for t in sorted(truths, key=lambda t: (t.frame, t.track_id)):
        size = np.tile(t.box[2:] - t.box[:2], 2)
        drift[t.track_id] = 0.8 * drift[t.track_id] + 0.6 * rng.normal(0.0, 1.0, 4)
        noise = 0.7 * rng.normal(0.0, 1.0, 4) + 0.7 * drift[t.track_id]
        box = t.box + JITTER * (1.0 + t.hidden) * size * noise
        box[[0, 2]] = np.clip(box[[0, 2]], 0.0, timeline.WIDTH - 1.0)
        box[[1, 3]] = np.clip(box[[1, 3]], 0.0, timeline.HEIGHT - 1.0)
        score = float(np.clip(0.97 - 0.35 * t.hidden + 0.02 * rng.normal(), 0.3, 0.99))
        x1, y1, x2, y2 = (round(float(v), 2) for v in box)
        boxes[frames.index(t.frame)].append(
            Detection((x1, y1, x2, y2), t.category, round(score, 3), t.track_id)
        )
    return boxes


def write(folder: Path, plan: Timeline, truths: list[Truth], out: Path, quality: int) -> None:
    """Write the bag and ground_truth.csv beside it; frames that are not rendered are left out.

    Args:
        folder: of rendered PNG files.
        plan: of the recording.
        truths: of all frames.
        out: the bag's folder, made anew.
        quality: of JPEG, 0 to 100.

    Raises:
        FileNotFoundError: when there is no frame at all.
    """
    frames = [k for k in range(plan.frames) if (folder / f"{k:04d}.png").is_file()]
    if not frames:
        raise FileNotFoundError(f"{folder}: holds no frame; run `make_recording.py render` first")
    truths = [t for t in truths if t.frame in frames]
    boxes = detector_boxes(truths, np.random.default_rng(plan.seed))
    camera = Camera(timeline.intrinsics(), timeline.WIDTH, timeline.HEIGHT)
    if out.exists():
        shutil.rmtree(out)
    with BagWriter(out) as bag:
        for frame, found in zip(frames, boxes, strict=True):
            stamp = timeline.stamp_ns(frame)
            rendered = cv2.imread(str(folder / f"{frame:04d}.png"), cv2.IMREAD_COLOR)
            rendered = cv2.resize(rendered, (camera.width, camera.height))
            image = camera_effects(rendered, np.random.default_rng((plan.seed, frame)))
            options = [cv2.IMWRITE_JPEG_QUALITY, quality]
            data = cv2.imencode(".jpg", image, options)[1].tobytes()
            make = bag.messages
            header = conversion.header(make, stamp, FRAME_ID)
            info = conversion.camera_message(make, header, camera)
            bag.write(INFO_TOPIC, CAMERA_INFO, stamp, info)
            detections = conversion.boxes_message(make, header, found)
            bag.write(BOXES_TOPIC, DETECTIONS_2D, stamp, detections)
            jpeg = conversion.compressed_message(make, header, data, "jpeg")
            bag.write(IMAGE_TOPIC, COMPRESSED_IMAGE, stamp, jpeg)
            poses = [
                ObjectPose(t.track_id, t.category, 1.0, t.T_cam_obj, np.zeros((6, 6)), t.size)
                for t in truths
                if t.frame == frame
            ]
            message = conversion.object_poses_message(make, header, poses)
            bag.write(TRUTH_TOPIC, DETECTIONS_3D, stamp, message)
    truth.write_csv(truths, out.parent / "ground_truth.csv")
    size = sum(p.stat().st_size for p in out.iterdir()) / 1e6
    print(f"{out}: {len(frames)} frames, {size:.1f} MB")
