# SPDX-License-Identifier: Apache-2.0
"""Learn one more category on the frozen backbone of a family of bundles, or of one bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from nemo_model.datasets.layout import SOURCES
from nemo_model.errors import NemoError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--family", type=Path, required=True,
                        help="folder of the family; CATEGORY/ is written below it")  # fmt: skip
    parser.add_argument("--root", type=Path, required=True, help="data set, PASCAL3D+ layout")
    parser.add_argument("--source", required=True, choices=SOURCES)
    parser.add_argument("--category", required=True)
    parser.add_argument("--split", default="train-fit")
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--licence", required=True, help="licences of data and weights")
    parser.add_argument("--data", default="", help="what it was trained on, for the card")
    parser.add_argument("--length-m", type=float,
                        help="mean length, metres; rendered: of the table of models")  # fmt: skip
    parser.add_argument("--length-sigma", type=float, help="deviation / mean")
    parser.add_argument("--length-source", default="given", help="where the length comes from")
    parser.add_argument("--symmetry", type=int, default=None,
                        help="looks the same after turns by 360 / N degrees; 0: any; rendered "
                        "categories: as in the table of models, others 1")  # fmt: skip
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON",
                        help="other fields of TrainConfig")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    try:
        from nemo_model.training.config import make_config
        from nemo_model.training.families.add import add_category
        from nemo_model.training.families.config import Member, with_prior
    except ImportError as error:
        raise NemoError(
            f"training needs torch: make train-env, or pip install .[train] ({error})"
        ) from error
    from pydantic import ValidationError

    size = None
    if (args.length_m is None) != (args.length_sigma is None):
        raise NemoError("--length-m and --length-sigma belong together")
    if args.length_m is not None:
        size = {"length_m": args.length_m, "sigma": args.length_sigma, "source": args.length_source}
    try:
        member = Member.model_validate(
            {
                "category": args.category, "root": str(args.root), "source": args.source,
                "split": args.split, "licence": args.licence, "symmetry": args.symmetry,
                "size": size,
                "data": args.data or f"{args.root.name}: {args.source}, {args.split}",
            }
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise NemoError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    member = with_prior(member, "--length-m, --length-sigma")
    warmup = min(200, max(args.steps // 10, 1))
    config = make_config({"seed": args.seed, "steps": args.steps, "warmup": warmup}, args.set)
    command = f"nemo add-category --source {args.source} --category {args.category} " + (
        f"--split {args.split} --steps {args.steps}"
    )
    bundle = add_category(
        args.family, member, args.root, args.backgrounds, args.out, config, command=command,
        workers=args.workers, threads=args.threads, save_every=args.save_every, resume=args.resume,
    )  # fmt: skip
    print(f"{bundle.folder}: {bundle.card.category}, sha256 {bundle.digest}; the others are as "
          "they were")  # fmt: skip
    return 0
