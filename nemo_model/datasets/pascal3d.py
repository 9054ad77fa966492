# SPDX-License-Identifier: Apache-2.0
"""PASCAL3D+ 1.1 and everything in its layout: photos with boxes, CAD index and 6 DoF pose.

Layout below `root`: Images|Annotations/<cat>_<source>/, Image_sets/<cat>_<source>_<split>.txt,
CAD/<cat>/NN.off. The files are MATLAB's: pixels count from 1, angles are in degrees; both are
converted here (pixel centres at integers from 0, radians).
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nemo_model import pose
from nemo_model.datasets import matfile
from nemo_model.datasets.common import DatasetError, read_image, read_lines, tune_groups

SOURCES = ("imagenet", "pascal", "stanford")
SPLITS = ("train", "val", "train-fit", "train-tune")
IMAGE_SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".JPG", ".png")
DEFAULT_VIEWPORT = 3000.0  # PASCAL3D+'s constant, for files that leave it out


@dataclass(frozen=True)
class Pascal3DObject:
    """One annotated object.

    Angles in radians, `distance` in CAD units (CAD diagonal = 1), `focal` in pixels (the files'
    focal * viewport), `box` (x1, y1, x2, y2) and `principal_point` (x, y) in pixels from 0.
    `cad_index` counts from 1 (0: not annotated); `index` is the place in the image's record.
    """

    name: str
    image_path: Path
    category: str
    box: np.ndarray
    cad_index: int
    azimuth: float
    elevation: float
    theta: float
    distance: float
    principal_point: np.ndarray
    focal: float
    truncated: bool
    occluded: bool
    difficult: bool
    size: tuple[int, int]
    index: int = 0

    @property
    def K(self) -> np.ndarray:
        """Intrinsics (3, 3) in pixels of the image."""
        px, py = self.principal_point
        return np.array([[self.focal, 0.0, px], [0.0, self.focal, py], [0.0, 0.0, 1.0]])

    @property
    def R_cam_obj(self) -> np.ndarray:
        """Rotation (3, 3), object to OpenCV camera frame."""
        return pose.rotation_from_angles(self.azimuth, self.elevation, self.theta)

    @property
    def T_cam_obj(self) -> np.ndarray:
        """Pose (4, 4), object to OpenCV camera frame, lengths in CAD units."""
        return pose.transform(self.R_cam_obj, np.array([0.0, 0.0, self.distance]))

    def read_image(self) -> np.ndarray:
        """The photo, RGB uint8 (H, W, 3). Raises DatasetError naming the file."""
        return read_image(self.image_path)


@dataclass
class Pascal3D:
    """The objects of one category, source and split, in the order of the image set.

    split: "train", "val", or "train-fit" / "train-tune", a fixed partition of train: about 8 % of
    the classes of <root>/classes.csv (columns name, class), without that file of the images, are
    held out for tuning. `skipped` counts, by reason, what the annotations do not give.
    Raises DatasetError on an unknown split, missing or damaged files, or when nothing is left.
    """

    root: Path
    category: str
    source: str = "stanford"
    split: str = "train"
    objects: list[Pascal3DObject] = field(init=False, default_factory=list, repr=False)
    skipped: Counter[str] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self.root = Path(self.root)
        if not self.root.is_dir():
            raise DatasetError(f"{self.root}: no such folder (root of the PASCAL3D+ layout)")
        for name in image_names(self.root, self.category, self.source, self.split):
            self.objects.extend(self._read(name))
        if not self.objects:
            raise DatasetError(
                f"{self.root}: no usable '{self.category}' in {self.source}/{self.split}; "
                f"skipped: {dict(self.skipped)}"
            )

    def __iter__(self) -> Iterator[Pascal3DObject]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> Pascal3DObject:
        return self.objects[index]

    def cad_path(self, cad_index: int) -> Path:
        """The OFF file of a sub-type. Raises DatasetError where the set has none."""
        path = self.root / "CAD" / self.category / f"{cad_index:02d}.off"
        if not path.is_file():
            raise DatasetError(f"{path}: no such CAD model (cad_index {cad_index})")
        return path

    def _read(self, name: str) -> list[Pascal3DObject]:
        folder = f"{self.category}_{self.source}"
        annotation = self.root / "Annotations" / folder / f"{name}.mat"
        if not annotation.is_file():
            self.skipped["no annotation file"] += 1
            return []
        image_path = _image_path(self.root / "Images" / folder, name)
        if image_path is None:
            self.skipped["no image file"] += 1
            return []
        objects, skipped = read_annotation(annotation, image_path, self.category)
        self.skipped.update(skipped)
        return objects


def read_annotation(
    path: Path, image_path: Path, category: str
) -> tuple[list[Pascal3DObject], Counter[str]]:
    """Objects of `category` in one annotation file, and the reasons for leaving others out.

    Raises DatasetError naming the file where it is no PASCAL3D+ record.
    """
    record = matfile.load_struct(path, "record")
    skipped: Counter[str] = Counter()
    objects: list[Pascal3DObject] = []
    size: tuple[int, int] | None = None
    for index, entry in enumerate(matfile.structs(matfile.field(record, "objects"))):
        if matfile.text(entry, "class") != category:
            skipped["other class"] += 1
            continue
        size = size or _image_size(record, image_path)
        found = _object(entry, image_path, category, size, index)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            objects.append(found)
    return objects, skipped


def _object(
    entry: np.void, image_path: Path, category: str, size: tuple[int, int], index: int
) -> Pascal3DObject | str:
    """One object, or the reason why it cannot be used."""
    view = matfile.substruct(entry, "viewpoint")
    if view is None:
        return "no viewpoint"
    distance = matfile.number(view, "distance")
    if not distance or distance < 0:
        return "distance 0 (only the coarse angles hold)"
    azimuth, elevation, theta = (_angle(view, key) for key in ("azimuth", "elevation", "theta"))
    if azimuth is None or elevation is None:
        return "no azimuth or elevation"
    box = _box(matfile.numbers(entry, "bbox"), size)
    if box is None:
        return "no box inside the image"
    viewport = matfile.number(view, "viewport") or DEFAULT_VIEWPORT
    focal = viewport * (matfile.number(view, "focal") or 1.0)
    px, py = matfile.number(view, "px"), matfile.number(view, "py")
    middle = (box[:2] + box[2:]) / 2
    point = np.array([middle[0] if px is None else px - 1, middle[1] if py is None else py - 1])
    return Pascal3DObject(
        name=image_path.stem,
        image_path=image_path,
        category=category,
        box=box,
        cad_index=int(matfile.number(entry, "cad_index") or 0),
        azimuth=azimuth,
        elevation=elevation,
        theta=theta or 0.0,
        distance=distance,
        principal_point=point,
        focal=focal,
        truncated=bool(matfile.number(entry, "truncated")),
        occluded=bool(matfile.number(entry, "occluded")),
        difficult=bool(matfile.number(entry, "difficult")),
        size=size,
        index=index,
    )


def _angle(view: np.void, key: str) -> float | None:
    """The angle in radians, the coarse one where the fine one is missing."""
    degrees = matfile.number(view, key)
    if degrees is None:
        degrees = matfile.number(view, f"{key}_coarse")
    return None if degrees is None else math.radians(degrees)


def _box(bbox: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """1-based [x1, y1, x2, y2] -> 0-based, clipped to the image; None where nothing is left."""
    if bbox is None or bbox.size < 4 or not np.isfinite(bbox[:4]).all():
        return None
    width, height = size
    box = np.clip(bbox[:4] - 1.0, 0.0, [width - 1, height - 1, width - 1, height - 1])
    return box if (box[2:] - box[:2] >= 1.0).all() else None


def _image_size(record: np.void, image_path: Path) -> tuple[int, int]:
    """(width, height) from the record (ImageNet's imgsize, VOC's size), else from the image."""
    imgsize = matfile.numbers(record, "imgsize")
    if imgsize is not None and imgsize.size >= 2 and (imgsize[:2] >= 1).all():
        return int(imgsize[0]), int(imgsize[1])
    size = matfile.substruct(record, "size")
    width, height = matfile.number(size, "width"), matfile.number(size, "height")
    if width and height:
        return int(width), int(height)
    image = read_image(image_path)
    return image.shape[1], image.shape[0]


def image_names(root: Path, category: str, source: str, split: str) -> list[str]:
    """Names of the images of a split, in the order of the set, each once."""
    if split not in SPLITS:
        raise DatasetError(f"split '{split}' is not known; choose one of {', '.join(SPLITS)}")
    base = split.partition("-")[0]
    names = _listed(root, category, source, base)
    if split == base:
        return names
    classes = _classes(root / "classes.csv")
    group = {name: classes.get(name, name) for name in names}
    held_out = tune_groups(group.values())
    return [name for name in names if (group[name] in held_out) == (split == "train-tune")]


def _listed(root: Path, category: str, source: str, split: str) -> list[str]:
    """Names in PASCAL3D+'s image set; for VOC photos the VOC set (lines "name 1|0|-1")."""
    voc = root / "PASCAL" / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    candidates = [root / "Image_sets" / f"{category}_{source}_{split}.txt"]
    if source == "pascal":
        candidates += [voc / f"{category}_{split}.txt", voc / f"{split}.txt"]
    for path in candidates:
        if path.is_file():
            rows = [line.split() for line in read_lines(path)]
            names = [row[0] for row in rows if len(row) < 2 or row[1] != "-1"]
            if path.name == f"{split}.txt":  # VOC's set of all categories: keep what is annotated
                folder = root / "Annotations" / f"{category}_{source}"
                names = [name for name in names if (folder / f"{name}.mat").is_file()]
            return list(dict.fromkeys(names))
    raise DatasetError("no image set; looked for " + ", ".join(str(path) for path in candidates))


def _classes(path: Path) -> dict[str, str]:
    """Image name -> finer class (car model) from classes.csv; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"name", "class"} <= set(reader.fieldnames or ()):
            raise DatasetError(f"{path}: needs the columns 'name' and 'class'")
        return {row["name"]: row["class"] for row in reader}


def _image_path(folder: Path, name: str) -> Path | None:
    """The image file of a name, by the suffixes in use; None where there is none."""
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return None
