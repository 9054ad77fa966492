# SPDX-License-Identifier: Apache-2.0
"""The layout of the Occluded PASCAL3D+: read it, write it.

images|annotations/<cat>FGL{k}_BGL{k}/<name>.{JPEG,npz} and lists/<cat>FGL{k}_BGL{k}.txt. Each npz
holds source (the original image), occluder_mask (H, W), mask (H, W) of the object, box and
occluder_box as y0, y1, x0, x1, H, W. The pose is that of the PASCAL3D+ annotation of the same name.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from nemo_model.datasets.annotation import Pascal3DObject
from nemo_model.datasets.collection import ObjectSet
from nemo_model.datasets.common import DatasetError, read_lines
from nemo_model.datasets.layout import Layout, layout
from nemo_model.datasets.occluders import OBJECT_SHARE, Occlusion
from nemo_model.datasets.pascal3d import annotated

JPEG_QUALITY = 95


def folder_name(category: str, level: int) -> str:
    """Name of a level's folder. Raises DatasetError on an unknown level."""
    if level not in OBJECT_SHARE:
        raise DatasetError(f"occlusion level {level} is not known; choose 1, 2 or 3")
    return f"{category}FGL{level}_BGL{level}"


@dataclass
class OccludedPascal3D(ObjectSet[Pascal3DObject]):
    """Objects of an occluded copy: photo from `occluded_root`, box, camera and pose from `root`.

    Images that are not of the split, or whose annotation gives no pose, are counted in `skipped`.
    With boxes "visible" the box encloses what the occluders leave to see, as a detector's would;
    objects of which nothing is left are counted. Raises DatasetError on missing files or when
    nothing is left.
    """

    root: Path
    occluded_root: Path
    category: str
    level: int
    source: str = "stanford"
    split: str = "val"
    views: str = "all"
    boxes: str = "whole"

    def __post_init__(self) -> None:
        self.root, self.occluded_root = Path(self.root), Path(self.occluded_root)
        if not self.occluded_root.is_dir():
            raise DatasetError(f"{self.occluded_root}: no such folder")
        where = layout(self.root, self.category, self.source)
        folder = folder_name(self.category, self.level)
        listed = list_path(self.occluded_root, self.category, self.level)
        names = [line.split()[0].rsplit(".", 1)[0] for line in read_lines(listed)]
        allowed = set(where.names(self.split))
        for name in dict.fromkeys(names):
            if name not in allowed:
                self.skipped["not in the split"] += 1
            elif not where.annotation(name).is_file():
                self.skipped["no annotation file"] += 1
            else:
                self.objects += self._read(where, name, folder)
        self._finish(
            self.views,
            f"{listed}: none of its {len(names)} images can be used with {self.root} "
            f"{self.source}/{self.split}",
        )

    def _read(self, where: Layout, name: str, folder: str) -> list[Pascal3DObject]:
        """The annotated object whose image is occluded, none (counted) where there is none."""
        image_path = self.occluded_root / "images" / folder / f"{name}.JPEG"
        if not image_path.is_file():
            self.skipped["no image file"] += 1
            return []
        objects = annotated(where, name, image_path, self.skipped)
        note = self.occluded_root / "annotations" / folder / f"{name}.npz"
        if len(objects) > 1:
            box = read_box(note)
            objects.sort(key=lambda each: float(np.abs(each.box - box).sum()))
            self.skipped["beside the occluded object"] += len(objects) - 1
        found = [replace(each, image_path=image_path) for each in objects[:1]]
        if found and self.boxes == "visible":
            left = visible_box(note)
            if left is None:
                self.skipped["nothing left to see"] += 1
                return []
            found = [replace(found[0], box=left)]
        return found


def visible_box(path: Path) -> np.ndarray | None:
    """The box x1, y1, x2, y2 (4,) around what an npz's occluders leave to see, None for nothing."""
    occluder, mask, _ = read_occlusion(path)
    rows, cols = np.nonzero(mask & ~occluder)
    if not len(rows):
        return None
    return np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], dtype=np.float64)


def read_occlusion(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(occluder_mask, object mask, box) of an npz: (H, W) bool twice, and x1, y1, x2, y2 (4,).

    Raises DatasetError naming the file and what is missing in it.
    """
    occluder, mask = (_field(path, name) for name in ("occluder_mask", "mask"))
    if occluder.ndim != 2 or occluder.shape != mask.shape:
        raise DatasetError(
            f"{path}: occluder_mask {occluder.shape} and mask {mask.shape} must be one (H, W)"
        )
    # the object's mask is 0 or 255 there, the occluders' is boolean
    return occluder.astype(bool), mask > 127, read_box(path)


def read_box(path: Path) -> np.ndarray:
    """The object's box x1, y1, x2, y2 (4,) in an npz. Raises DatasetError as read_occlusion."""
    values = _field(path, "box").ravel()
    if values.size < 4:
        raise DatasetError(f"{path}: box holds {values.size} numbers, needs y0, y1, x0, x1")
    y0, y1, x0, x1 = values[:4].astype(np.float64)
    return np.array([x0, y0, x1, y1])


def _field(path: Path, name: str) -> np.ndarray:
    """One array of an npz; the others may be pickled objects, which are not read."""
    try:
        with np.load(path, allow_pickle=False) as content:
            array = np.asarray(content[name])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: {name} cannot be read ({error})") from error
    if array.dtype.kind not in "biuf":
        raise DatasetError(f"{path}: {name} is no array of numbers")
    return array


def write_occlusion(
    out: Path, level: int, source: Pascal3DObject, silhouette: np.ndarray, occlusion: Occlusion
) -> None:
    """Write image and npz of one object. Raises DatasetError where that fails."""
    folder = folder_name(source.category, level)
    image_path = out / "images" / folder / f"{source.name}.JPEG"
    annotation_path = out / "annotations" / folder / f"{source.name}.npz"
    height, width = silhouette.shape
    x1, y1, x2, y2 = source.box
    box = [int(y1), int(np.ceil(y2)), int(x1), int(np.ceil(x2)), height, width]
    sizes = np.tile([height, width], (len(occlusion.boxes), 1))
    good, code = cv2.imencode(
        ".jpg",
        cv2.cvtColor(occlusion.image, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    )
    if not good:
        raise DatasetError(f"{image_path}: the image cannot be encoded")
    try:
        image_path.parent.mkdir(parents=True, exist_ok=True)
        annotation_path.parent.mkdir(parents=True, exist_ok=True)
        image_path.write_bytes(code.tobytes())
        np.savez_compressed(
            annotation_path,
            source=f"{source.image_path.parent.name}/{source.image_path.name}",
            category=source.category,
            occluder_mask=occlusion.mask,
            mask=silhouette.astype(np.uint8) * 255,
            box=np.array(box),
            occluder_box=np.hstack([occlusion.boxes, sizes]),
        )
    except OSError as error:
        raise DatasetError(f"{out}: cannot write the occluded copy ({error})") from error


def list_path(out: Path, category: str, level: int) -> Path:
    """Where the list of a level's images lies."""
    return out / "lists" / f"{folder_name(category, level)}.txt"


def write_list(out: Path, category: str, level: int, names: list[str]) -> Path:
    """Write the list of a level's images and return its path."""
    path = list_path(out, category, level)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}.JPEG\n" for name in names), encoding="utf-8")
    return path
