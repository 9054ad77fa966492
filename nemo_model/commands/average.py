# SPDX-License-Identifier: Apache-2.0
"""Average the weights of several trainings that went on from one another (a model soup)."""

from __future__ import annotations

import argparse
from pathlib import Path

from nemo_model.errors import NemoError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", type=Path, nargs="+", metavar="PART",
                        help="checkpoint.pt of nemo train, or folder of a bundle or family"
                        )  # fmt: skip
    parser.add_argument("--shares", type=float, nargs="+", metavar="SHARE",
                        help="weight of each part (default: all alike)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="checkpoint.pt to write")


def run(args: argparse.Namespace) -> int:
    if len(args.parts) < 2:
        raise NemoError("one part has no mean: give two or more")
    if args.out.exists():
        raise NemoError(f"--out {args.out}: is there already; move it away")
    try:
        from nemo_model.training.soup import averaged
    except ImportError as error:
        raise NemoError(
            f"averaging needs torch: make train-env, or pip install .[train] ({error})"
        ) from error
    found = averaged(args.parts, args.shares or [1.0] * len(args.parts))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    found.save(args.out)
    print(f"{args.out}: mean of {len(args.parts)}; next: nemo export --checkpoint {args.out} ...")
    return 0
