# SPDX-License-Identifier: Apache-2.0
"""Make an occluded copy of a data set in the PASCAL3D+ layout, at levels 1, 2 and 3."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nemo_model.datasets.common import DatasetError, subset
from nemo_model.datasets.occluded import list_path
from nemo_model.datasets.occluded_copy import SHAPES, make_level, one_per_image
from nemo_model.datasets.occluders import OBJECT_SHARE, photo_paths
from nemo_model.datasets.pascal3d import SOURCES, SPLITS, Pascal3D


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
        found = make_level(dataset, objects, level, photos, args.out, args.seed, args.shape)
        shares = list(found.values())
        print(
            f"level {level}: {len(shares)} images, {100 * np.mean(shares):.1f} % of the object "
            f"hidden on average ({100 * min(shares):.1f} to {100 * max(shares):.1f}), "
            f"{len(objects) - len(shares)} left out as too small; list: "
            f"{list_path(args.out, args.category, level)}"
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
