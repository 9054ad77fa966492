# SPDX-License-Identifier: Apache-2.0
"""Train a category's backbone and neural mesh on a data set in the PASCAL3D+ layout.

On several GPUs or machines: torchrun ... -m nemo_model.cli train ..., see docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pydantic import ValidationError

from nemo_model.datasets.layout import SOURCES
from nemo_model.datasets.views import VIEWS
from nemo_model.errors import NemoError
from nemo_model.meshes.meshset import MeshSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True, help="data set, PASCAL3D+ layout")
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--category", default="car")
    parser.add_argument("--source", default="stanford", choices=SOURCES)
    parser.add_argument("--split", default="train-fit")
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
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    text = "other fields of TrainConfig, e.g. batch=16 augment.flip=0"
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help=text)


def run(args: argparse.Namespace) -> int:
    try:
        from nemo_model.training.config import TrainConfig
        from nemo_model.training.ranks import first
        from nemo_model.training.start import bundle_weights
        from nemo_model.training.train import train
    except ImportError as error:
        raise NemoError(
            f"training needs the extra [train]: pip install .[train] ({error})"
        ) from error
    values: dict[str, object] = {
        "category": args.category, "source": args.source, "split": args.split, "views": args.views,
        "seed": args.seed,
    }  # fmt: skip
    if args.steps is not None:
        values["steps"] = args.steps
    values = _with_settings(values, args.set)
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(str(part) for part in wrong["loc"])
        raise NemoError(f"--set: {field}: {wrong['msg']}") from error
    meshes = None if args.meshes is None else MeshSet.load(args.meshes)
    initial = None if args.start is None else bundle_weights(args.start, meshes)
    path = train(
        args.root, args.backgrounds, args.out, config, workers=args.workers, threads=args.threads,
        save_every=args.save_every, resume=args.resume, initial=initial, meshes=meshes,
    )  # fmt: skip
    if not first():
        return 0
    print(f"trained {config.steps} steps; next: nemo export --checkpoint {path} --out models/...")
    return 0


def _with_settings(values: dict[str, object], settings: list[str]) -> dict[str, object]:
    for setting in settings:
        key, _, text = setting.partition("=")
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise NemoError(f"--set {setting}: the value is not JSON ({error})") from error
        group, _, field = key.rpartition(".")
        target = values if not group else values.setdefault(group, {})
        if not isinstance(target, dict):
            raise NemoError(f"--set {setting}: {group} has no fields")
        target[field] = value
    return values
