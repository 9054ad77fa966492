# SPDX-License-Identifier: Apache-2.0
"""One annotation file of PASCAL3D+ or ObjectNet3D: its objects with box, CAD index and 6 DoF pose.

The files are MATLAB's: pixels count from 1, angles are in degrees; both are converted here (pixel
centres at integers from 0, radians). A field that is absent or empty is made up for where the
data sets' own tools do so; one that holds something else than it should is an error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nemo_model import pose
from nemo_model.datasets import matfile
from nemo_model.datasets.common import DatasetError, read_image
from nemo_model.mesh import Mesh

VISIBLE = 1.0  # an anchor's status
DEFAULT_VIEWPORT = 3000.0  # PASCAL3D+'s constant, for files that leave it out


@dataclass(frozen=True)
class Pascal3DObject:
    """One annotated object.

    Angles in radians, `distance` in CAD units (CAD diagonal = 1), `focal` in pixels (the files'
    focal * viewport), `box` (x1, y1, x2, y2) and `principal_point` (x, y) in pixels from 0.
    `cad_index` counts from 1 (0: not annotated); `index` is the place in the image's record.
    `anchors`: named keypoints that are visible, pixels (x, y) from 0; empty where none are marked.
    `symmetry`: turns about z that leave this object as it is (see Symmetry), where the file says.
    `stretch`: factors along x, y, z that make its CAD model this object (nemo synth), else None.
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
    anchors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    symmetry: int | None = None
    stretch: tuple[float, float, float] | None = None

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

    def shape(self, cad: Mesh) -> Mesh:
        """This object's shape in object units (diagonal 1), given its CAD model."""
        return cad if self.stretch is None else Mesh(cad.vertices * self.stretch, cad.faces)

    def read_image(self) -> np.ndarray:
        """The photo, RGB uint8 (H, W, 3). Raises DatasetError naming the file."""
        return read_image(self.image_path)


def read_annotation(
    path: Path, image_path: Path, category: str, viewport: float = DEFAULT_VIEWPORT
) -> tuple[list[Pascal3DObject], Counter[str]]:
    """Objects of `category` in one annotation file, and the reasons for leaving others out.

    `viewport` (pixels) stands in where a viewpoint has none. Raises DatasetError naming the file,
    the object and the field where it is no PASCAL3D+ record.
    """
    record = matfile.load_struct(path, "record")
    if "objects" not in (record.dtype.names or ()):
        raise DatasetError(f"{path}: record has no field 'objects'")
    skipped: Counter[str] = Counter()
    objects: list[Pascal3DObject] = []
    size: tuple[int, int] | None = None
    for index, entry in enumerate(matfile.structs(matfile.field(record, "objects"))):
        if matfile.text(entry, "class") != category:
            skipped["other class"] += 1
            continue
        try:
            size = size or _image_size(record, image_path)
            found = _object(entry, image_path, category, size, index, viewport)
        except matfile.FieldError as error:
            raise DatasetError(f"{path}: object {index + 1} ({category}): {error}") from error
        if isinstance(found, str):
            skipped[found] += 1
        else:
            objects.append(found)
    return objects, skipped


def _object(
    entry: np.void,
    image_path: Path,
    category: str,
    size: tuple[int, int],
    index: int,
    default_viewport: float,
) -> Pascal3DObject | str:
    """One object, or the reason why it cannot be used."""
    view = matfile.substruct(entry, "viewpoint")
    if view is None:
        return "no viewpoint"
    distance = _at_least_zero(view, "distance")
    if not distance:
        return "distance 0 (only the coarse angles hold)"
    azimuth, elevation = _angle(view, "azimuth"), _angle(view, "elevation")
    if azimuth is None or elevation is None:
        return "no azimuth or elevation"
    theta = matfile.number(view, "theta")
    box = _box(matfile.numbers(entry, "bbox"), size)
    if box is None:
        return "no box inside the image"
    focal, viewport = _at_least_zero(view, "focal"), _at_least_zero(view, "viewport")
    if focal == 0.0 or viewport == 0.0:
        return "focal length 0 (not aligned)"
    px, py = matfile.number(view, "px"), matfile.number(view, "py")
    middle = (box[:2] + box[2:]) / 2
    point = np.array([middle[0] if px is None else px - 1, middle[1] if py is None else py - 1])
    return Pascal3DObject(
        name=image_path.stem,
        image_path=image_path,
        category=category,
        box=box,
        cad_index=_whole(entry, "cad_index"),
        azimuth=azimuth,
        elevation=elevation,
        theta=math.radians(theta or 0.0),
        distance=distance,
        principal_point=point,
        focal=(focal or 1.0) * (viewport or default_viewport),
        truncated=bool(matfile.number(entry, "truncated")),
        occluded=bool(matfile.number(entry, "occluded")),
        difficult=bool(matfile.number(entry, "difficult")),
        size=size,
        index=index,
        anchors=_anchors(entry),
        symmetry=None if matfile.number(entry, "symmetry") is None else _whole(entry, "symmetry"),
        stretch=_stretch(entry),
    )


def _stretch(entry: np.void) -> tuple[float, float, float] | None:
    factors = matfile.numbers(entry, "stretch")
    if factors is None:
        return None
    if factors.size != 3 or not (np.isfinite(factors) & (factors > 0.0)).all():
        raise matfile.FieldError(f"stretch is {factors.tolist()}, must be three factors above 0")
    x, y, z = factors.tolist()
    return x, y, z


def _anchors(entry: np.void) -> dict[str, tuple[float, float]]:
    """Named keypoints whose status is 1, visible; other statuses say why one cannot be seen."""
    anchors = matfile.substruct(entry, "anchors")
    found: dict[str, tuple[float, float]] = {}
    for name in () if anchors is None else anchors.dtype.names or ():
        anchor = matfile.substruct(anchors, name)
        if anchor is None or matfile.number(anchor, "status") != VISIBLE:
            continue
        location = matfile.numbers(anchor, "location")
        if location is None:
            continue
        if location.size != 2:
            raise matfile.FieldError(f"anchors.{name}.location holds {location.size} numbers")
        found[name] = (float(location[0]) - 1.0, float(location[1]) - 1.0)
    return found


def _angle(view: np.void, key: str) -> float | None:
    """The angle in radians, the coarse one where the fine one is missing."""
    degrees = matfile.number(view, key)
    if degrees is None:
        degrees = matfile.number(view, f"{key}_coarse")
    return None if degrees is None else math.radians(degrees)


def _at_least_zero(struct: np.void, name: str) -> float | None:
    value = matfile.number(struct, name)
    if value is not None and value < 0.0:
        raise matfile.FieldError(f"{name} is {value:g}, must not be negative")
    return value


def _whole(struct: np.void, name: str) -> int:
    """A count from 1, 0 where there is none."""
    value = matfile.number(struct, name) or 0.0
    if value < 0.0 or value != int(value):
        raise matfile.FieldError(f"{name} is {value:g}, must be a whole number from 1")
    return int(value)


def _box(bbox: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """1-based [x1, y1, x2, y2] -> 0-based, clipped to the image; None where nothing is left."""
    if bbox is None:
        return None
    if bbox.size != 4:
        raise matfile.FieldError(f"bbox holds {bbox.size} numbers, needs x1, y1, x2, y2")
    width, height = size
    box = np.clip(bbox - 1.0, 0.0, [width - 1, height - 1, width - 1, height - 1])
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
