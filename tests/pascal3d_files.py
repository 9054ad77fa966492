# SPDX-License-Identifier: Apache-2.0
"""Small data sets in the layouts of PASCAL3D+ and KITTI, written by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

SIZE = (160, 120)  # width, height


def viewpoint(**changes: Any) -> dict[str, Any]:
    """A viewpoint as in the files: degrees, pixels from 1. A change to None leaves a field out."""
    fields = {
        "azimuth_coarse": 45.0, "elevation_coarse": 10.0, "azimuth": 40.0, "elevation": 12.0,
        "distance": 4.0, "focal": 1.0, "px": 81.0, "py": 61.0, "theta": 3.0, "error": 0.0,
        "viewport": 400.0,
    } | changes  # fmt: skip
    return {key: value for key, value in fields.items() if value is not None}


def thing(category: str = "car", view: Any = None, **changes: Any) -> dict[str, Any]:
    """An object of a record."""
    fields = {
        "class": category, "bbox": [31.0, 41.0, 131.0, 91.0], "cad_index": 1.0, "truncated": 0.0,
        "occluded": 0.0, "difficult": 0.0, "anchors": [],
        "viewpoint": viewpoint() if view is None else view,
    } | changes  # fmt: skip
    return {key: value for key, value in fields.items() if value is not None}


def struct_array(items: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array (1, n): all objects have all fields, empty where one lacks it."""
    names = list(dict.fromkeys(name for item in items for name in item))
    array = np.empty((1, len(items)), dtype=[(name, object) for name in names])
    for k, item in enumerate(items):
        for name in names:
            array[0, k][name] = item.get(name, np.zeros((0, 0)))
    return array


def texture(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth random photo (H, W, 3) uint8."""
    small = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


def write_object(
    root: Path,
    name: str,
    objects: Any,
    *,
    source: str = "stanford",
    category: str = "car",
    suffix: str = ".JPEG",
    image: np.ndarray | None = None,
    **record: Any,
) -> None:
    """Write image and annotation of one name."""
    images, annotations = (
        root / kind / f"{category}_{source}" for kind in ("Images", "Annotations")
    )
    for folder in (images, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    if image is None:
        image = texture(np.random.default_rng(sum(map(ord, name))))
    cv2.imwrite(str(images / f"{name}{suffix}"), image)
    if isinstance(objects, list):
        objects = struct_array(objects)
    fields = {"filename": f"{name}{suffix}", "objects": objects}
    savemat(annotations / f"{name}.mat", {"record": fields | record})


def write_set(
    root: Path, split: str, names: list[str], source: str = "stanford", category: str = "car"
) -> None:
    """Write an image set."""
    folder = root / "Image_sets"
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}\n" for name in names)
    (folder / f"{category}_{source}_{split}.txt").write_text(text)


def write_cad(root: Path, index: int = 1) -> None:
    """A cuboid with the CAD's unit diagonal as an OFF file."""
    folder = root / "CAD" / "car"
    folder.mkdir(parents=True, exist_ok=True)
    x, y, z = 0.2, 0.43, 0.16
    corners = [(a * x, b * y, c * z) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    lines = [f"OFF\n{len(corners)} {len(quads)} 0"]
    lines += [" ".join(f"{v:.4f}" for v in corner) for corner in corners]
    lines += ["4 " + " ".join(map(str, quad)) for quad in quads]
    (folder / f"{index:02d}.off").write_text("\n".join(lines) + "\n")


def small_set(root: Path, count: int = 6, split: str = "val") -> Path:
    """A set of `count` cars seen from all around, with CAD model and image set."""
    names = [f"{k:05d}" for k in range(1, count + 1)]
    for k, name in enumerate(names):
        azimuth = 360.0 * k / count + 5.0
        write_object(root, name, [thing(view=viewpoint(azimuth=azimuth))], imgsize=[*SIZE, 3])
    write_set(root, split, names)
    write_cad(root)
    return root


def write_kitti(root: Path, lines: dict[str, list[str]], p2: str | None = None) -> Path:
    """A KITTI folder from label lines by image name."""
    for kind in ("label_2", "calib", "image_2"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    p2 = p2 or "700 0 600 0 0 700 180 0 0 0 1 0"
    for name, labels in lines.items():
        (root / "label_2" / f"{name}.txt").write_text("".join(f"{line}\n" for line in labels))
        (root / "calib" / f"{name}.txt").write_text(f"P0: {p2}\nP2: {p2}\nR0_rect: 1 0 0\n")
        image = texture(np.random.default_rng(len(name)), (1240, 376))
        cv2.imwrite(str(root / "image_2" / f"{name}.png"), image)
    return root
