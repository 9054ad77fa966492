# SPDX-License-Identifier: Apache-2.0
"""Render training and test sets of several categories from Debian's free 3D models.

    nemo synth fetch --cache CACHE                 the packages (apt-get download, dpkg -x)
    nemo synth models --cache CACHE --sheet DIR    the models, by category; contact sheets
    nemo synth render --cache CACHE --out ROOT --category chair --split train --count 2000

The sets are in PASCAL3D+'s layout: `nemo train --root ROOT --source synth --category chair`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from nemo_model.errors import NemoError
from nemo_model.synth import packages
from nemo_model.synth.build import Settings, build
from nemo_model.synth.catalogue import (
    Entry,
    categories,
    of_category,
    read_table,
    split_families,
)  # fmt: skip
from nemo_model.synth.cycles import Cycles
from nemo_model.synth.prior import prior
from nemo_model.synth.scene import Ranges

FEW = 12
"""Categories with fewer families are marked: too few to train on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="download and unpack the packages, list licences")
    models = actions.add_parser("models", help="list the models; draw contact sheets")
    render = actions.add_parser("render", help="render one category and split")
    for one in (fetch, models, render):
        one.add_argument("--cache", type=Path, required=True, help="folder of the packages")
    for one in (fetch, models):
        one.add_argument("--category", action="append", help="only this one (may be repeated)")
    models.add_argument("--sheet", type=Path, metavar="DIR", help="folder for contact sheets")
    models.add_argument(
        "--licence", default="", help="on the sheets, only models of this one, e.g. CC0-1.0"
    )
    render.add_argument("--out", type=Path, required=True, help="root of the data set")
    render.add_argument("--category", required=True)
    render.add_argument("--split", default="train", choices=("train", "val"))
    render.add_argument("--count", type=int, default=2000, help="images")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--backgrounds", type=Path, nargs="+", default=[], metavar="DIR",
                        help="folders of photos (smooth noise without)")  # fmt: skip
    render.add_argument("--size", type=int, default=320, help="longer side, pixels")
    render.add_argument("--elevation", type=float, nargs=2, default=Ranges.elevation,
                        metavar=("LOW", "HIGH"), help="degrees")  # fmt: skip
    render.add_argument("--box-jitter", type=float, default=0.0,
                        help="standard deviation of a box's sides, share of its size")  # fmt: skip
    render.add_argument("--recoloured", type=float, default=Ranges.recoloured,
                        help="share of images with colours that are not the model's")  # fmt: skip
    render.add_argument("--stretched", type=float, default=Ranges.stretched, metavar="S",
                        help="scale each axis by exp(-S) to exp(S): other shapes")  # fmt: skip
    render.add_argument("--without", nargs="+", default=[], metavar="FAMILY",
                        help="models to hold back, as those to be measured on")  # fmt: skip
    render.add_argument("--workers", type=int, default=1, help="processes")
    render.add_argument("--renderer", default="own", choices=("own", "cycles"),
                        help="cycles: light paths are traced by Blender's Cycles")  # fmt: skip
    render.add_argument("--cycles-python", type=Path, default=Path(sys.executable), metavar="PATH",
                        help="a Python that has bpy (this one)")  # fmt: skip
    render.add_argument("--samples", type=int, default=Cycles.samples,
                        help="light paths per pixel, for Cycles")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    entries = read_table()
    return {"fetch": _fetch, "models": _models, "render": _render}[args.action](args, entries)


def _fetch(args: argparse.Namespace, entries: Sequence[Entry]) -> int:
    wanted = [
        e for name in args.category or categories(entries) for e in of_category(entries, name)
    ]
    for name, folder in packages.fetch(_packages(wanted), args.cache).items():
        print(f"{name}: {folder}\n  licence of the models: {packages.PACKAGES[name].licence}")
    return 0


def _models(args: argparse.Namespace, entries: Sequence[Entry]) -> int:
    licences = sorted({entry.licence for entry in entries})
    if args.licence and args.licence not in licences:
        raise NemoError(
            f"--licence {args.licence}: no model has it; there are {', '.join(licences)}"
        )
    for category in args.category or categories(entries):
        mine = of_category(entries, category)
        families = sorted({e.family for e in mine})
        few = "" if len(families) >= FEW else ", few instances"
        print(f"{category}: {len(mine)} models, {len(families)} families{few}; val: "
              + ", ".join(split_families(families, "val")))  # fmt: skip
        print(f"  {prior(mine).text()}")
        drawn = [entry for entry in mine if args.licence in ("", entry.licence)]
        if args.sheet and drawn:
            _sheet(args.sheet / f"{category}.png", drawn, args.cache)
    return 0


def _sheet(path: Path, entries: Sequence[Entry], cache: Path) -> None:
    from nemo_model.synth.sheet import cell, sheet
    from nemo_model.synth.store import stored_model

    bar = tqdm(entries, desc=path.stem, unit="model", dynamic_ncols=True)
    image = sheet([cell(stored_model(entry, cache), entry) for entry in bar])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[:, :, ::-1]):
        raise NemoError(f"{path}: cannot be written")
    print(f"  {path}")


def _render(args: argparse.Namespace, entries: Sequence[Entry]) -> int:
    if args.size < 32 or args.seed < 0 or not 0.0 <= args.box_jitter < 0.5:
        raise NemoError("--size must be at least 32, --seed at least 0, --box-jitter below 0.5")
    low, high = args.elevation
    if not -90.0 <= low < high <= 90.0:
        raise NemoError("--elevation: LOW must be below HIGH, both in -90 .. 90 degrees")
    if not 0.0 <= args.recoloured <= 1.0:
        raise NemoError(f"--recoloured {args.recoloured}: must be a share, 0 to 1")
    if not 0.0 <= args.stretched <= 1.0:
        raise NemoError(f"--stretched {args.stretched}: must be 0 to 1")
    mine = of_category(entries, args.category)
    packages.fetch(_packages(mine), args.cache)
    ranges = Ranges(
        longest=args.size, elevation=(low, high), recoloured=args.recoloured,
        stretched=args.stretched,
    )  # fmt: skip
    settings = Settings(
        args.category, args.split, args.seed, args.box_jitter, ranges, tuple(args.without)
    )
    cycles = Cycles(args.cycles_python, args.samples) if args.renderer == "cycles" else None
    names = build(
        entries, settings, args.count, args.cache, args.out, args.backgrounds, args.workers, cycles
    )
    print(
        f"{args.out}: {len(names)} images of {args.category} ({args.split}); next: "
        f"nemo train --root {args.out} --source synth --category {args.category} ..."
    )
    return 0


def _packages(entries: Sequence[Entry]) -> list[str]:
    return sorted({entry.package for entry in entries})
