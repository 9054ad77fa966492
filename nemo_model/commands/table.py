# SPDX-License-Identifier: Apache-2.0
"""Make one of the paper's tables: train what is missing, evaluate, report with intervals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2

from nemo_model.comparison.config import KINDS, TableConfig, for_kind, read_values
from nemo_model.datasets.layout import SOURCES
from nemo_model.errors import NemoError
from nemo_model.evaluation.evaluate import ALL_PROTOCOLS
from nemo_model.systems import needs_torch

_FIELDS = (
    "root", "backgrounds", "source", "split", "train_split", "steps", "batch", "seeds", "limit",
    "occluded_root", "occluder_photos", "augment", "keypoints", "settings", "resamples", "examples",
)  # fmt: skip
"""Options that are fields of TableConfig of the same name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS, help="occlusion: systems under L0 to L3; unseen: "
                        "trained on four bins of azimuth; mesh: cuboid, cuboids, CAD; ablation: "
                        "NeMo without its parts")  # fmt: skip
    parser.add_argument("--config", type=Path, help="YAML with fields of the table, e.g. "
                        "config/pascal3d.yaml; options override it")  # fmt: skip
    parser.add_argument("--root", type=Path, help="data set, PASCAL3D+ layout")
    parser.add_argument("--backgrounds", type=Path, help="folder of photos for training")
    parser.add_argument("--out", type=Path, required=True, help="folder for models, results and "
                        "reports; may be shared by all tables")  # fmt: skip
    parser.add_argument("--source", choices=SOURCES, help="default stanford")
    parser.add_argument("--split", help="what is reported; default val")
    parser.add_argument("--train-split", help="what is trained on; default train-fit")
    parser.add_argument("--category", action="append", help="may be given several times")
    parser.add_argument("--systems", help="names, separated by commas")
    parser.add_argument("--augment", choices=("with", "without", "both"),
                        help="occluders pasted in training")  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--steps", type=int, help="of each training, per category")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--set", dest="settings", nargs="*", metavar="KEY=JSON",
                        help="other fields of TrainConfig, for every system")  # fmt: skip
    parser.add_argument("--keypoints", type=Path, help="named 3D keypoints for StarMap")
    parser.add_argument("--limit", type=int, help="only so many objects per category")
    parser.add_argument("--occluded-root", type=Path, help="occluded copies, L1 to L3; made from "
                        "--occluder-photos where absent")  # fmt: skip
    parser.add_argument("--occluder-photos", type=Path, help="default: --backgrounds")
    parser.add_argument(
        "--protocol",
        choices=(*ALL_PROTOCOLS, "both"),
        help="default paper, as the paper scores (mesh: paper-subtype too); both: paper and robot",
    )
    parser.add_argument("--resamples", type=int, help="of the bootstrap; default 2000")
    parser.add_argument("--examples", type=int, help="objects shown with their occlusion map; "
                        "default 4, 0: none")  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch and model")
    parser.add_argument("--plan", action="store_true", help="say what would be done and how long "
                        "that may take, and stop")  # fmt: skip
    parser.add_argument("--report", action="store_true", help="report what is there; train and "
                        "evaluate nothing")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from nemo_model.comparison import cost, data
    from nemo_model.comparison.output import write_report
    from nemo_model.comparison.plan import make_plan
    from nemo_model.comparison.runner import execute
    from nemo_model.comparison.store import Store

    cv2.setNumThreads(args.threads)
    config = make_config(args)
    plan, store = make_plan(config), Store(args.out)
    data.check(config)  # before anything is trained
    if not (args.plan or args.report):
        needs_torch()  # before a report of nothing is written
    if args.plan:
        print(cost.describe(plan, store))
        return 0
    outcome = execute(
        plan, store, workers=args.workers, threads=args.threads, only_gather=args.report
    )
    folder, text = write_report(plan, store, outcome, args.threads)
    print(text)
    print(f"{folder}: report.md, report.html, table.csv, plots")
    if outcome.problems:
        raise NemoError(f"{len(outcome.problems)} run(s) not done: {outcome.problems[0]}")
    return 0


def make_config(args: argparse.Namespace) -> TableConfig:
    """The config of the options, above those of the file, above those of the kind."""
    values: dict[str, Any] = {} if args.config is None else read_values(args.config)
    values |= {name: value for name in _FIELDS if (value := getattr(args, name)) is not None}
    if args.category is not None:
        values["categories"] = args.category
    if args.systems is not None:
        values["systems"] = [name.strip() for name in args.systems.split(",") if name.strip()]
    if args.protocol is not None:
        values["protocols"] = ("paper", "robot") if args.protocol == "both" else (args.protocol,)
    for name in ("root", "backgrounds"):
        if name not in values:
            raise NemoError(f"--{name}: give it, or '{name}' in the file of --config")
    where = "nemo table" if args.config is None else f"{args.config} and options"
    return for_kind(args.kind, values, where)
