# SPDX-License-Identifier: Apache-2.0
"""Makes one level of an occluded copy of a data set: choose the objects, hide them, write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from nemo_model.datasets.annotation import Pascal3DObject
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.occluded import write_list, write_occlusion
from nemo_model.datasets.occluders import generator, occlude
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.datasets.walls import wall
from nemo_model.raster import silhouette

SHAPES = {"patches": occlude, "wall": wall}


def make_level(
    dataset: Pascal3D,
    objects: Sequence[Pascal3DObject],
    level: int,
    photos: Sequence[Path],
    out: Path,
    seed: int = 0,
    shape: str = "patches",
) -> dict[str, float]:
    """Write images, annotations and, last, the list of a level.

    The occluders of an image depend on seed, level, category and the image's name alone. Returns
    the hidden share of the object by the image's name; objects that are too small are not in it.
    Raises DatasetError when nothing is left, or on files that cannot be read or written.
    """
    shares: dict[str, float] = {}
    for item in tqdm(objects, desc=f"level {level}", unit="image", dynamic_ncols=True):
        image = item.read_image()
        height, width = image.shape[:2]
        shape_seen = item.shape(dataset.cad(item.cad_index))
        mask = silhouette(shape_seen, item.T_cam_obj, item.K, width, height)
        rng = generator(seed, level, dataset.category, item.name)
        result = SHAPES[shape](image, mask, level, photos, rng)
        if result is None:
            continue
        write_occlusion(out, level, item, mask, result)
        shares[item.name] = result.share
    if not shares:
        raise DatasetError(f"{dataset.root}: no object is large enough to be occluded")
    write_list(out, dataset.category, level, list(shares))
    return shares


def one_per_image(objects: Sequence[Pascal3DObject]) -> list[Pascal3DObject]:
    """The largest object with a CAD model of each image, in the order of the images."""
    largest: dict[str, Pascal3DObject] = {}
    for item in objects:
        if item.cad_index < 1:
            continue
        best = largest.get(item.name)
        if best is None or _area(item) > _area(best):
            largest[item.name] = item
    return list(largest.values())


def _area(item: Pascal3DObject) -> float:
    x1, y1, x2, y2 = item.box
    return float((x2 - x1) * (y2 - y1))
