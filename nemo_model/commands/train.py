# SPDX-License-Identifier: Apache-2.0
"""Train NeMo, or a system it is compared with, on a data set in the PASCAL3D+ layout.

On several GPUs or machines: torchrun ... -m nemo_model.cli train ..., see docs/scaling.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nemo_model.datasets.common import read_lines
from nemo_model.datasets.layout import SOURCES
from nemo_model.datasets.views import VIEWS
from nemo_model.errors import NemoError
from nemo_model.meshes.meshset import MeshSet
from nemo_model.systems import SYSTEMS, Run, system

ALSO_SHARE = 0.25
"""Share of the samples that are of the second data set, where nothing else is said."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, help="data set, PASCAL3D+ layout")
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--family", type=Path, metavar="FILE.yaml",
                        help="several categories over one backbone, instead of --root, --category, "
                        "--source and --split (docs/categories.md)")  # fmt: skip
    parser.add_argument("--roots", nargs="+", default=[], metavar="NAME=DIR",
                        help="--family: folders of the data that the file names")  # fmt: skip
    parser.add_argument("--category", default="car")
    parser.add_argument("--source", default="stanford", choices=SOURCES)
    parser.add_argument("--split", default="train-fit")
    parser.add_argument("--also", type=Path, metavar="DIR",
                        help="a second data set, as of rendered objects among photos")  # fmt: skip
    parser.add_argument("--also-source", default="synth", choices=SOURCES)
    parser.add_argument("--also-share", type=float, default=None, metavar="SHARE",
                        help="of the samples that are of --also (default 0.25)")  # fmt: skip
    parser.add_argument("--views", default="all", choices=VIEWS,
                        help="seen: the four azimuth bins that the paper trains on")  # fmt: skip
    parser.add_argument("--steps", type=int, default=None, help="optimiser steps in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--meshes", type=Path, metavar="FILE.npz",
                        help="of nemo make-mesh: one mesh per sub-type, each trained on the photos "
                        "annotated with it; default: one cuboid for all")  # fmt: skip
    parser.add_argument("--from", dest="start", type=Path, metavar="BUNDLE",
                        help="start from this bundle's weights, not from ImageNet's")  # fmt: skip
    parser.add_argument("--leave-out", type=Path, metavar="FILE",
                        help="names of photos not to train on, one a line; see "
                        "benchmarks/doubtful_labels.py")  # fmt: skip
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--system", metavar="NAME",
                        help="a system as it stands in the tables, trained and exported: "
                        f"{', '.join(SYSTEMS)} (docs/rivals.md)")  # fmt: skip
    parser.add_argument("--categories", nargs="+", metavar="CATEGORY",
                        help="--system: several")  # fmt: skip
    parser.add_argument("--no-occluders", action="store_true",
                        help="paste neither occluders nor neighbours into the photos")  # fmt: skip
    parser.add_argument("--keypoints", type=Path, metavar="FILE",
                        help="starmap: 3D keypoints (default ROOT/CAD/keypoints.json)")  # fmt: skip
    text = "other fields of TrainConfig, e.g. batch=16 augment.flip=0"
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help=text)


def run(args: argparse.Namespace) -> int:
    if args.also is None and args.also_share is not None:
        raise NemoError("--also-share: give the second data set with --also")
    if args.family is not None:
        return _run_family(args)
    if args.root is None:
        raise NemoError("--root: give the folder of the data set, or a --family")
    if args.also is not None and args.system is not None:
        raise NemoError(f"--also: '{args.system}' trains on one data set")
    if args.system is not None:
        return _run_system(args)
    if args.categories is not None:
        raise NemoError("--categories: is of --system; here one --category is trained at a time")
    try:
        from nemo_model.training.config import WITHOUT_OCCLUDERS, make_config
        from nemo_model.training.ranks import first
        from nemo_model.training.start import bundle_weights
        from nemo_model.training.train import train
    except ImportError as error:
        raise NemoError(
            f"training needs torch: make train-env, or pip install .[train] ({error})"
        ) from error
    values: dict[str, object] = {
        "category": args.category, "source": args.source, "split": args.split, "views": args.views,
        "seed": args.seed,
    }  # fmt: skip
    if args.also is not None:
        share = ALSO_SHARE if args.also_share is None else args.also_share
        values |= {"also_source": args.also_source, "also_share": share}
    if args.steps is not None:
        values["steps"] = args.steps
    if args.leave_out is not None:
        values["left_out"] = read_lines(args.leave_out)
    if args.no_occluders:
        values["augment"] = dict(WITHOUT_OCCLUDERS)
    config = make_config(values, args.set)
    meshes = None if args.meshes is None else MeshSet.load(args.meshes)
    initial = None if args.start is None else bundle_weights(args.start, meshes)
    path = train(
        args.root, args.backgrounds, args.out, config, workers=args.workers, threads=args.threads,
        save_every=args.save_every, resume=args.resume, initial=initial, meshes=meshes,
        also=args.also,
    )  # fmt: skip
    if not first():
        return 0
    print(f"trained {config.steps} steps; next: nemo export --checkpoint {path} --out models/...")
    return 0


def _run_family(args: argparse.Namespace) -> int:
    """Train several categories over one backbone, and export them to --out/model."""
    for name, unset in (
        ("root", None),
        ("also", None),
        ("meshes", None),
        ("leave_out", None),
        ("system", None),
    ):
        if getattr(args, name) != unset:
            option = name.replace("_", "-")
            raise NemoError(f"--{option}: with --family this stands in its file, per category")
    try:
        from nemo_model.training.checkpoint import Checkpoint
        from nemo_model.training.config import WITHOUT_OCCLUDERS, make_config
        from nemo_model.training.families.config import bound, read_family
        from nemo_model.training.families.export import export_family
        from nemo_model.training.families.train import train_family
        from nemo_model.training.ranks import first
    except ImportError as error:
        raise NemoError(
            f"training needs torch: make train-env, or pip install .[train] ({error})"
        ) from error
    values: dict[str, object] = {"views": args.views, "seed": args.seed}
    if args.steps is not None:
        values |= {"steps": args.steps, "warmup": min(200, max(args.steps // 10, 1))}
    if args.no_occluders:
        values["augment"] = dict(WITHOUT_OCCLUDERS)
    config, family = make_config(values, args.set), read_family(args.family)
    if args.no_occluders and any(each.augment for each in family.categories):
        raise NemoError(
            f"--no-occluders: {args.family} gives categories an augment of their own; say it there"
        )
    path = train_family(
        family, bound(args.roots), args.backgrounds, args.out, config, workers=args.workers,
        threads=args.threads, save_every=args.save_every, resume=args.resume, start=args.start,
    )  # fmt: skip
    if not first():
        return 0
    command = f"nemo train --family {args.family.name} --steps {config.steps}"
    if args.start is not None:
        command += f" --from {args.start.name}"
    export_family(Checkpoint.load(path), args.out / "model", command)
    print(f"trained {config.steps} steps: {args.out / 'model'}; nemo export --checkpoint {path} "
          "--out models/... writes it elsewhere")  # fmt: skip
    return 0


def _run_system(args: argparse.Namespace) -> int:
    """Train another system, up to a folder that nemo evaluate takes."""
    chosen = system(args.system)
    for name, unset in (("meshes", None), ("leave_out", None), ("save_every", 250)):
        if getattr(args, name) != unset:
            option = name.replace("_", "-")
            raise NemoError(f"--{option}: '{args.system}' is trained without, as in the tables")
    if args.start is not None:
        raise NemoError(f"--from: '{args.system}' starts from ImageNet's weights only")
    if args.out.is_dir() and any(args.out.iterdir()) and not args.resume:
        raise NemoError(f"--out {args.out}: is not empty; choose another or go on with --resume")
    run = Run(
        system=args.system,
        root=args.root,
        backgrounds=args.backgrounds,
        categories=tuple(args.categories or [args.category]),
        source=args.source,
        split=args.split,
        views=args.views,
        occluders=not args.no_occluders,
        seed=args.seed,
        keypoints=args.keypoints,
        settings=tuple(args.set),
        **({} if args.steps is None else {"steps": args.steps}),
    )
    folder = chosen.train(run, args.out, args.workers, args.threads)
    print(f"trained; next: nemo evaluate --system {args.system} --model {folder} ...")
    return 0
