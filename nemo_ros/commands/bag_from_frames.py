# SPDX-License-Identifier: Apache-2.0
"""Make a bag from image files, intrinsics and a CSV of boxes.

Images may be of any kind that OpenCV reads; frames without a row in the CSV get an empty list of
boxes. CSV columns: frame (the number at the end of the image's name) or image (its name), x1, y1,
x2, y2 in pixels and, where there, time_s, category, score, id.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_ros import conversion, frame_files
from nemo_ros.bags import FORMATS, BagWriter
from nemo_ros.bagtypes import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    DETECTIONS_2D,
    DETECTIONS_3D,
    IMAGE,
)
from nemo_ros.conversion import ObjectPose

JPEG_QUALITY = 95


@dataclass(frozen=True)
class FileFrame:
    """One frame of a recording in files."""

    image: Path
    stamp_ns: int
    detections: tuple[Detection, ...]
    truths: tuple[ObjectPose, ...] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--images", type=Path, required=True, help="folder with image files")
    parser.add_argument(
        "--camera-info",
        type=Path,
        required=True,
        help="JSON: width, height, K, [frame_id, rate_hz]",
    )
    parser.add_argument("--boxes", type=Path, required=True, help="CSV: frame, x1, y1, x2, y2, ...")
    parser.add_argument("--out", type=Path, required=True, help="the bag's folder, made anew")
    parser.add_argument("--category", default="car", help="of boxes that name none (%(default)s)")
    parser.add_argument("--rate", type=float, help="frames per second; else column time_s or JSON")
    parser.add_argument("--format", choices=sorted(FORMATS), default="mcap")
    parser.add_argument(
        "--encoding",
        choices=("jpeg", "png", "raw"),
        default="jpeg",
        help="jpeg: CompressedImage, JPEG files as they are; png: without loss; raw: Image",
    )
    parser.add_argument(
        "--ground-truth",
        type=Path,
        help="CSV: frame, x, y, z (m), qx..qw or azimuth, elevation, theta (degrees), [id, ...]",
    )
    parser.add_argument(
        "--start", type=float, default=1.0, help="stamp of the first frame, s (%(default)s)"
    )
    parser.add_argument("--limit", type=int, default=0, help="frames; 0: all")
    parser.add_argument("--image-topic", default="/camera/image_rect")
    parser.add_argument("--camera-info-topic", default="/camera/camera_info")
    parser.add_argument("--detections-topic", default="/detections")
    parser.add_argument("--ground-truth-topic", default="/ground_truth")


def run(args: argparse.Namespace) -> int:
    """Write the bag and say what is in it."""
    if args.rate is not None and not args.rate > 0:
        raise NemoError(f"--rate is {args.rate}, it must be positive")
    if args.limit < 0:
        raise NemoError(f"--limit is {args.limit}, it must be 0 (all frames) or more")
    if args.start < 0:
        raise NemoError("--start must not be negative")
    info = frame_files.read_camera(args.camera_info)
    frames = list(_frames(args, info))
    topic = args.image_topic + ("" if args.encoding == "raw" else "/compressed")
    boxes = 0
    with BagWriter(args.out, args.format) as bag:
        for frame in frames:
            header = conversion.header(bag.messages, frame.stamp_ns, info.frame_id)
            camera = conversion.camera_message(bag.messages, header, info.camera)
            bag.write(args.camera_info_topic, CAMERA_INFO, frame.stamp_ns, camera)
            msgtype, image = _image(bag, header, frame.image, args.encoding, info.camera)
            bag.write(topic, msgtype, frame.stamp_ns, image)
            message = conversion.boxes_message(bag.messages, header, frame.detections)
            bag.write(args.detections_topic, DETECTIONS_2D, frame.stamp_ns, message)
            if frame.truths is not None:
                truth = conversion.object_poses_message(bag.messages, header, frame.truths)
                bag.write(args.ground_truth_topic, DETECTIONS_3D, frame.stamp_ns, truth)
            boxes += len(frame.detections)
    seconds = (frames[-1].stamp_ns - frames[0].stamp_ns) * 1e-9
    print(f"{args.out}: {len(frames)} frames, {boxes} boxes, {seconds:.1f} s, {args.format}")
    return 0


def _frames(args: argparse.Namespace, info: frame_files.CameraFile) -> Iterator[FileFrame]:
    images = frame_files.list_images(args.images)
    _read(images[0], info.camera)  # boxes are judged by the camera's size: is it these images'?
    numbers = frame_files.frame_numbers(images)
    table = frame_files.read_table(args.boxes, ("x1", "y1", "x2", "y2"))
    _check_used(table, images, numbers)
    truth = None
    if args.ground_truth is not None:
        truth = frame_files.read_table(args.ground_truth, ("x", "y", "z"))
        _check_used(truth, images, numbers)
    rate = args.rate or info.rate_hz
    times = frame_files.frame_times(table, images, numbers, rate, args.rate is not None)
    entries = list(zip(images, numbers, times, strict=True))
    for image, index, seconds in entries[: args.limit or None]:
        real = None
        if truth is not None:
            real = tuple(frame_files.truths(truth, image, index, args.category))
        yield FileFrame(
            image,
            round((args.start + seconds) * 1e9),
            tuple(frame_files.detections(table, image, index, args.category, info.camera)),
            real,
        )


def _check_used(table: frame_files.Table, images: list[Path], numbers: list[int]) -> None:
    """A row that belongs to no image is a mistake in one of the two."""
    known = {path.name for path in images} | {str(index) for index in numbers}
    strangers = sorted(set(table.by_frame) - known)
    if strangers:
        raise NemoError(
            f"{table.path}: has rows for frame(s) {', '.join(strangers[:5])}"
            f"{' ...' if len(strangers) > 5 else ''}, which no image belongs to"
        )


def _image(
    bag: BagWriter, header: object, path: Path, encoding: str, camera: Camera
) -> tuple[str, object]:
    """The image's message type and message. Raises NemoError for a file that is none."""
    content, pixels = _read(path, camera)
    if encoding == "raw":
        rgb = np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.uint8)
        return IMAGE, conversion.image_message(bag.messages, header, rgb)
    own = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}.get(path.suffix.lower())
    if own != encoding:
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if encoding == "jpeg" else []
        content = cv2.imencode(f".{encoding}", pixels, options)[1].tobytes()
    return COMPRESSED_IMAGE, conversion.compressed_message(bag.messages, header, content, encoding)


def _read(path: Path, camera: Camera) -> tuple[bytes, np.ndarray]:
    """A file's bytes and its pixels (H, W, 3) BGR. Raises NemoError for one that is no image."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NemoError(f"{path}: cannot be read ({error.strerror})") from error
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if pixels is None:
        raise NemoError(f"{path}: is no image that can be decoded")
    if pixels.shape[:2] != (camera.height, camera.width):
        raise NemoError(
            f"{path}: is {pixels.shape[1]} x {pixels.shape[0]} pixels, but the camera_info says "
            f"{camera.width} x {camera.height}"
        )
    return content, np.asarray(pixels)
