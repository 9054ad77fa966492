# SPDX-License-Identifier: Apache-2.0
"""Make an occluded copy of a data set in the PASCAL3D+ layout, at levels 1, 2 and 3."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nemo_model.datasets.common import DatasetError, subset
from nemo_model.datasets.occluded import list_path, write_list, write_occlusion
from nemo_model.datasets.occluders import OBJECT_SHARE, generator, occlude, photo_paths
from nemo_model.datasets.pascal3d import SOURCES, SPLITS, Pascal3D, Pascal3DObject
from nemo_model.datasets.walls import wall
from nemo_model.raster import silhouette

SHAPES = {"patches": occlude, "wall": wall}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="data set, PASCAL3D+ layout")
    parser.add_argument("--source", default="stanford", choices=SOURCES)
    parser.add_argument("--split", default="val", choices=SPLITS)
    parser.add_argument("--category", default="car")
    parser.add_argument("--occluders", type=Path, required=True, nargs="+", metavar="DIR",
                        help="folders of photos to cut the occluders from")  # fmt: skip
    parser.add_argument("--level", default="all", choices=("1", "2", "3", "all"),
                        help="share of the object hidden: 20-40, 40-60, 60-80 %%")  # fmt: skip
    parser.add_argument("--shape", default="patches", choices=tuple(SHAPES),
                        help="patches: pieces of photos all over, as in the Occluded PASCAL3D+; "
                        "wall: everything on one side of an edge")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only so many images, drawn by --seed")
    parser.add_argument("--overwrite", action="store_true",
                        help="replace lists and images that are in --out already")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    levels = tuple(OBJECT_SHARE) if args.level == "all" else (int(args.level),)
    if not args.overwrite:
        refuse_existing(args.out, args.category, levels)
    dataset = Pascal3D(args.root, args.category, args.source, args.split)
    photos = photo_paths(args.occluders)
    objects = subset(one_per_image(list(dataset)), args.limit, args.seed)

    for level in levels:
        shares: list[float] = []
        names: list[str] = []
        for item in tqdm(objects, desc=f"level {level}", unit="image", dynamic_ncols=True):
            image = item.read_image()
            height, width = image.shape[:2]
            mask = silhouette(dataset.cad(item.cad_index), item.T_cam_obj, item.K, width, height)
            rng = generator(args.seed, level, args.category, item.name)
            result = SHAPES[args.shape](image, mask, level, photos, rng)
            if result is None:
                continue
            write_occlusion(args.out, level, item, mask, result)
            names.append(item.name)
            shares.append(result.share)
        if not names:
            raise DatasetError(f"{args.root}: no object is large enough to be occluded")
        path = write_list(args.out, args.category, level, names)
        print(
            f"level {level}: {len(names)} images, {100 * np.mean(shares):.1f} % of the object "
            f"hidden on average ({100 * min(shares):.1f} to {100 * max(shares):.1f}), "
            f"{len(objects) - len(names)} left out as too small; list: {path}"
        )
    return 0


def refuse_existing(out: Path, category: str, levels: Sequence[int]) -> None:
    """Raise DatasetError where `out` holds a list of one of the levels: it is of other images."""
    for level in levels:
        path = list_path(out, category, level)
        if path.exists():
            raise DatasetError(
                f"{path}: is there already, perhaps of another split or --limit; choose another "
                "--out, or give --overwrite to replace it"
            )


def one_per_image(objects: list[Pascal3DObject]) -> list[Pascal3DObject]:
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
