# SPDX-License-Identifier: Apache-2.0
"""A recording kept as plain files: images in a folder, intrinsics in JSON, boxes in CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nemo_model.boxes import Detection, reason_against
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.pose import rotation_from_angles
from nemo_ros.conversion import ObjectPose
from nemo_ros.quaternion import rotation_from_quaternion

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
UNKNOWN_COVARIANCE = np.zeros((6, 6))  # as ROS says it: all zero


@dataclass(frozen=True)
class CameraFile:
    """Contents of a camera_info file; rate_hz 0 when it names none."""

    camera: Camera
    frame_id: str
    rate_hz: float


@dataclass(frozen=True)
class Table:
    """What a CSV file says of each frame, by the frame's number or its image's name."""

    path: Path
    by_frame: Mapping[str, list[Mapping[str, str]]]

    def rows(self, image: Path, index: int) -> list[Mapping[str, str]]:
        """The rows of an image: by its name, or by the number that `frame_number` gives it."""
        return [
            *self.by_frame.get(image.name, []),
            *self.by_frame.get(str(index), []),
        ]


def read_camera(path: Path) -> CameraFile:
    """JSON with width, height, K (9 numbers) and, if wanted, frame_id, rate_hz, D, rectified.

    Raises:
        NemoError: naming file and field; also for images that still have lens distortion.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NemoError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise NemoError(f"{path}: must hold one object with width, height and K")
    missing = [name for name in ("width", "height", "K") if name not in values]
    if missing:
        raise NemoError(f"{path}: lacks {', '.join(missing)}")
    try:
        K = np.array(values["K"], dtype=np.float64).reshape(3, 3)
        D = np.array(values.get("D", []), dtype=np.float64)
        camera = Camera(K, int(values["width"]), int(values["height"]))
        rate_hz = float(values.get("rate_hz", 0.0))
    except (ValueError, TypeError) as error:
        raise NemoError(f"{path}: {error}") from error
    if D.any() and not values.get("rectified", False):
        raise NemoError(
            f"{path}: D is not zero and the images are not rectified; undistort them first "
            '(cv2.undistort) and say "rectified": true'
        )
    return CameraFile(camera, str(values.get("frame_id", "camera_optical_frame")), rate_hz)


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder by name. Raises NemoError when there are none."""
    if not folder.is_dir():
        raise NemoError(f"{folder}: is not a folder with images")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise NemoError(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    return found


def frame_numbers(images: Sequence[Path]) -> list[int]:
    """The number at the end of each name (000012.jpg is 12), or the position when one has none."""
    ends = [re.search(r"(\d+)$", path.stem) for path in images]
    numbers = [int(end.group(1)) for end in ends if end is not None]
    if len(set(numbers)) == len(images):
        return numbers
    return list(range(len(images)))


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """A CSV file with a column ``frame`` (number) or ``image`` (file name), and these columns.

    Raises:
        NemoError: naming the file and the columns that are missing.
    """
    by_frame: dict[str, list[Mapping[str, str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            key = "image" if "image" in names else "frame"
            missing = [name for name in (key, *columns) if name not in names]
            if missing:
                raise NemoError(
                    f"{path}: lacks the column(s) {', '.join(missing)}; it has {', '.join(names)}"
                )
            for line, row in enumerate(reader, start=2):
                if None in row.values() or None in row:
                    raise NemoError(f"{path}, line {line}: has not as many fields as the header")
                frame = row[key].strip()
                if key == "frame":
                    frame = str(int(number(path, {**row, "_line": str(line)}, "frame")))
                by_frame.setdefault(frame, []).append({**row, "_line": str(line)})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NemoError(f"{path}: cannot be read as CSV ({error})") from error
    return Table(path, by_frame)


def number(path: Path, row: Mapping[str, str], name: str) -> float:
    """A finite number of a row. Raises NemoError naming file, line and column."""
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NemoError(
            f"{path}, line {row['_line']}: {name} is {row[name]!r}, which is no finite number"
        )
    return value


def frame_times(
    table: Table, images: Sequence[Path], numbers: Sequence[int], rate_hz: float, given: bool
) -> list[float]:
    """Seconds of each frame from the first: column time_s where there is one, else by the rate.

    Args:
        rate_hz: frames per second; 0 when it is not known.
        given: the rate was asked for, so column time_s is not looked at.

    Raises:
        NemoError: no time known for a frame, or times that do not grow.
    """
    times: list[float] = []
    for image, index in zip(images, numbers, strict=True):
        rows = table.rows(image, index)
        if rows and "time_s" in rows[0] and not given:
            times.append(number(table.path, rows[0], "time_s"))
        elif rate_hz > 0:
            times.append((index - numbers[0]) / rate_hz)
        else:
            raise NemoError(
                f"{image.name}: no time is known; give --rate, or a column time_s in {table.path}"
            )
    for before, after, image in zip(times, times[1:], images[1:], strict=False):
        if after <= before:
            raise NemoError(f"{image.name}: its time {after:g} s is not after {before:g} s")
    return times


def detections(
    table: Table, image: Path, index: int, category: str, camera: Camera
) -> Iterator[Detection]:
    """Boxes of a frame: x1, y1, x2, y2 and, if there, category, score and id.

    Raises:
        NemoError: naming file, line and what is wrong with a box: empty, or outside the image.
    """
    for row in table.rows(image, index):
        x1, y1, x2, y2 = (number(table.path, row, name) for name in ("x1", "y1", "x2", "y2"))
        reason = reason_against(Detection((x1, y1, x2, y2), category), camera, 1.0)
        if reason is not None:
            raise NemoError(
                f"{table.path}, line {row['_line']}: {reason}; give x1 < x2 and y1 < y2 in pixels "
                "of this image, or leave the row out"
            )
        score = number(table.path, row, "score") if row.get("score") else 1.0
        yield Detection(
            (x1, y1, x2, y2), row.get("category") or category, score, row.get("id") or ""
        )


def truths(table: Table, image: Path, index: int, category: str) -> Iterator[ObjectPose]:
    """Ground truth of a frame: x, y, z in metres and qx, qy, qz, qw, or azimuth, elevation, theta
    in degrees; if there, id, category and size_x, size_y, size_z in metres."""
    for row in table.rows(image, index):

        def take(*names: str, row: Mapping[str, str] = row) -> np.ndarray:
            return np.array([number(table.path, row, name) for name in names])

        T = np.eye(4)
        if "qw" in row:
            try:
                T[:3, :3] = rotation_from_quaternion(take("qx", "qy", "qz", "qw"))
            except ValueError as error:
                raise NemoError(f"{table.path}, line {row['_line']}: {error}") from error
        elif "azimuth" in row:
            T[:3, :3] = rotation_from_angles(*np.radians(take("azimuth", "elevation", "theta")))
        else:
            raise NemoError(
                f"{table.path}: lacks a rotation; give the columns qx, qy, qz, qw or azimuth, "
                "elevation, theta (degrees)"
            )
        T[:3, 3] = take("x", "y", "z")
        size = take("size_x", "size_y", "size_z") if row.get("size_x") else np.zeros(3)
        yield ObjectPose(
            row.get("id") or "", row.get("category") or category, 1.0, T, UNKNOWN_COVARIANCE, size
        )
