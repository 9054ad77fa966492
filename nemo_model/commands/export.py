# SPDX-License-Identifier: Apache-2.0
"""Export a training checkpoint to a model bundle: ONNX backbone, neural mesh and card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nemo_model.errors import NemoError

NEEDED = ("data", "licence", "command", "length_m", "length_sigma", "length_source")
"""What the card of one category needs; a family's file says it of each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="checkpoint.pt of nemo train"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--name", default=None, help="default: the folder's name")
    parser.add_argument("--data", help="what it was trained on, for the card")
    parser.add_argument("--licence", help="licences of data and weights")
    parser.add_argument("--command", help="the command that trained it")
    parser.add_argument("--limits", default="", help="what it should not be used for")
    parser.add_argument("--length-m", type=float, help="mean length, metres")
    parser.add_argument("--length-sigma", type=float, help="deviation / mean")
    parser.add_argument("--length-source", help="where the length comes from")
    parser.add_argument("--symmetry", type=int, default=1,
                        help="looks the same after turns by 360 / N degrees; 0: any")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    try:
        from nemo_model.training.checkpoint import Checkpoint
        from nemo_model.training.export import export
    except ImportError as error:
        raise NemoError(
            f"export needs torch: make train-env, or pip install .[train] ({error})"
        ) from error
    from nemo_model.bundle import Card, SizePrior

    checkpoint = Checkpoint.load(args.checkpoint)
    if checkpoint.family:
        return _export_family(args, checkpoint)
    for name in NEEDED:
        if getattr(args, name) is None:
            raise NemoError(f"--{name.replace('_', '-')}: is needed for a bundle of one category")
    config = checkpoint.config
    try:
        card = Card(
            name=args.name or args.out.name,
            category=config.category,
            width=config.width,
            height=config.height,
            features=config.features,
            size=SizePrior(
                length_m=args.length_m, sigma=args.length_sigma, source=args.length_source
            ),
            symmetry=args.symmetry,
            data=args.data,
            split=config.split,
            seed=config.seed,
            command=args.command,
            licence=args.licence,
            limits=args.limits,
            mirror=config.augment.flip > 0,
            training=config.model_dump() | {"steps_done": checkpoint.step},
            sha256={},
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise NemoError(f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    bundle = export(checkpoint, card, args.out)
    print(f"{bundle.folder}: {config.category}, step {checkpoint.step}, sha256 {bundle.digest}")
    return 0


def _export_family(args: argparse.Namespace, checkpoint: Any) -> int:
    from nemo_model.training.families.export import export_family

    command = args.command or "nemo train --family"
    for bundle in export_family(checkpoint, args.out, command, args.limits):
        print(f"{bundle.folder}: step {checkpoint.step}, sha256 {bundle.digest}")
    return 0
