# SPDX-License-Identifier: Apache-2.0
"""KITTI object format: street scenes with boxes, true intrinsics and metric poses.

Layout below `root` (or root/training): label_2/NAME.txt, calib/NAME.txt, image_2/NAME.{png,jpg}.
KITTI's object frame: x forward, y down, z to the right, origin at the *bottom* centre, turned by
rotation_y about the camera's y axis, in the frame of the rectified camera 0. Ours: z up, front at
-y, origin at the box centre, in the frame of the camera that took the image (2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nemo_model import pose
from nemo_model.datasets.collection import ObjectSet
from nemo_model.datasets.common import DatasetError, read_image, read_lines

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".JPEG")
CLASSES = {"car": ("Car",), "bus": ("Bus",), "train": ("Tram",)}
R_KITTI_OBJ = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Our object axes in KITTI's: ours x = its z (right), ours -y = its x (front), ours z = its -y."""


@dataclass(frozen=True)
class KittiObject:
    """One labelled object.

    box (x1, y1, x2, y2) in pixels from 0; K (3, 3); T_cam_obj (4, 4) in metres, origin at the
    centre of the 3D box; dims (width, length, height) in metres along our x, y, z; occluded 0
    visible, 1 partly, 2 largely hidden, 3 unknown; truncated: the label's figure, 0 is uncut.
    """

    name: str
    image_path: Path
    category: str
    box: np.ndarray
    K: np.ndarray
    T_cam_obj: np.ndarray
    dims: np.ndarray
    occluded: int
    truncated: float
    index: int

    @property
    def height_px(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def R_cam_obj(self) -> np.ndarray:
        """Rotation (3, 3), object to camera frame."""
        return self.T_cam_obj[:3, :3]

    @property
    def azimuth(self) -> float:
        """Azimuth (radians) of the side that the camera sees: 0 the front."""
        x, y, _ = -self.T_cam_obj[:3, :3].T @ self.T_cam_obj[:3, 3]
        return math.atan2(x, -y)

    def read_image(self) -> np.ndarray:
        """The photo, RGB uint8 (H, W, 3). Raises DatasetError naming the file."""
        return read_image(self.image_path)


@dataclass
class Kitti(ObjectSet[KittiObject]):
    """The objects of one category, by file name and line.

    `split` names a list ImageSets/<split>.txt below the root; where there is none, all labelled
    images are taken. `views` as for Pascal3D. `skipped` counts the other labels by reason. Raises
    DatasetError on missing or damaged files, naming file and line, or when nothing is left.
    """

    root: Path
    category: str = "car"
    split: str = "all"
    views: str = "all"

    def __post_init__(self) -> None:
        root = Path(self.root)
        self.root = root / "training" if (root / "training" / "label_2").is_dir() else root
        if not (self.root / "label_2").is_dir():
            raise DatasetError(f"{root}: holds no folder label_2 (KITTI object format)")
        if self.category not in CLASSES:
            raise DatasetError(
                f"KITTI has no category '{self.category}'; choose one of {', '.join(CLASSES)}"
            )
        for name in self._names():
            self.objects.extend(self._read(name))
        self._finish(self.views, f"{root}: no '{self.category}'")

    def _names(self) -> list[str]:
        for folder in (self.root, self.root.parent):
            listed = folder / "ImageSets" / f"{self.split}.txt"
            if listed.is_file():
                return read_lines(listed)
        if self.split != "all":
            raise DatasetError(
                f"{self.root}: no list ImageSets/{self.split}.txt; leave --split out to take all"
            )
        return sorted(path.stem for path in (self.root / "label_2").glob("*.txt"))

    def _read(self, name: str) -> list[KittiObject]:
        K, offset = read_calibration(self.root / "calib" / f"{name}.txt")
        image_path = self._image_path(name)
        path = self.root / "label_2" / f"{name}.txt"
        objects = []
        for index, line in enumerate(read_lines(path)):
            words = line.split()
            if words[0] not in CLASSES[self.category]:
                self.skipped["other class"] += 1
                continue
            try:
                values = [float(word) for word in words[1:15]]
            except ValueError as error:
                raise DatasetError(f"{path}: object {index + 1}: {error}") from error
            if len(values) < 14 or not all(map(math.isfinite, values)):
                raise DatasetError(f"{path}: object {index + 1}: needs 14 finite numbers")
            truncated, occluded, _alpha, x1, y1, x2, y2, h, w, length, *location, turn = values
            objects.append(
                KittiObject(
                    name=name,
                    image_path=image_path,
                    category=self.category,
                    box=np.array([x1, y1, x2, y2]),
                    K=K,
                    T_cam_obj=object_pose(np.array(location) + offset, turn, h),
                    dims=np.array([w, length, h]),
                    occluded=int(occluded),
                    truncated=truncated,
                    index=index,
                )
            )
        return objects

    def _image_path(self, name: str) -> Path:
        for suffix in IMAGE_SUFFIXES:
            path = self.root / "image_2" / f"{name}{suffix}"
            if path.is_file():
                return path
        raise DatasetError(f"{self.root / 'image_2'}: no image {name} (.png or .jpg)")


def object_pose(location: np.ndarray, rotation_y: float, height: float) -> np.ndarray:
    """T_cam_obj (4, 4) in metres from a label: `location` (3,) is the *bottom* centre.

    rotation_y (radians) turns about the camera's y axis, down; 0 points the front along +x.
    """
    c, s = math.cos(rotation_y), math.sin(rotation_y)
    R_cam_kitti = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return pose.transform(
        R_cam_kitti @ R_KITTI_OBJ, np.asarray(location) - np.array([0.0, height / 2, 0.0])
    )


def read_calibration(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """K (3, 3) of camera 2, and the offset (3,) from camera 0's frame to camera 2's, in metres.

    P2 = K [I | offset]. Raises DatasetError naming the file where P2 is missing or unusable.
    """
    for line in read_lines(path):
        key, _, rest = line.partition(":")
        if key.strip() == "P2":
            try:
                P = np.array([float(word) for word in rest.split()]).reshape(3, 4)
            except ValueError as error:
                raise DatasetError(f"{path}: P2 needs 12 numbers ({error})") from error
            if not np.isfinite(P).all() or P[0, 0] <= 0 or P[1, 1] <= 0:
                raise DatasetError(f"{path}: P2 has no positive finite focal length")
            K = P[:, :3].copy()
            return K, np.linalg.solve(K, P[:, 3])
    raise DatasetError(f"{path}: holds no line 'P2:'")
