# SPDX-License-Identifier: Apache-2.0
"""Measure a model on labelled images: accuracy, median error, milliseconds per stage."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from nemo_model.datasets.common import DatasetError, subset
from nemo_model.datasets.kitti import Kitti
from nemo_model.datasets.occluded import OccludedPascal3D
from nemo_model.datasets.pascal3d import SOURCES, Pascal3D
from nemo_model.datasets.views import VIEWS
from nemo_model.estimator import BOXES, Estimator
from nemo_model.evaluation.evaluate import ALL_PROTOCOLS, evaluate
from nemo_model.evaluation.parallel import evaluate_parallel
from nemo_model.evaluation.report import markdown
from nemo_model.evaluation.samples import Sample, from_kitti, from_pascal3d
from nemo_model.evaluation.summary import summarise
from nemo_model.reference import SOLVERS, cold_solver
from nemo_model.systems import SYSTEMS, model_folder, system


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="bundle, e.g. models/car")
    parser.add_argument("--system", default="nemo", metavar="NAME",
                        help=f"what trained it: {', '.join(SYSTEMS)}")  # fmt: skip
    parser.add_argument("--dataset", default="pascal3d", choices=("pascal3d", "kitti"))
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--source", default="stanford", choices=SOURCES,
                        help="imagenet and pascal are PASCAL3D+ itself, objectnet3d has a root "
                        "of its own")  # fmt: skip
    parser.add_argument("--split", help="train, val, train-fit or train-tune (default val); "
                        "kitti: a list in ImageSets (default all images)")  # fmt: skip
    parser.add_argument("--views", default="all", choices=VIEWS,
                        help="seen, unseen: the azimuth bins that `nemo train --views seen` "
                        "trains on, and the others")  # fmt: skip
    parser.add_argument("--category", default="car")
    parser.add_argument("--occluded-root", type=Path, help="occluded copy made by `nemo occlude`, "
                        "or the Occluded PASCAL3D+; needs --level")  # fmt: skip
    parser.add_argument("--level", type=int, choices=(1, 2, 3), help="of --occluded-root")
    parser.add_argument("--boxes", default=BOXES[0], choices=BOXES,
                        help="visible: of an occluded copy, around what is left")  # fmt: skip
    parser.add_argument("--told", choices=BOXES, help="what boxes the estimator expects; by "
                        "default those it gets")  # fmt: skip
    parser.add_argument("--protocol", default="robot", choices=ALL_PROTOCOLS,
                        help="robot: image, box and K, 6 degrees of freedom; "
                        "paper: centre and distance given as well, 3; "
                        "paper-subtype: the annotated CAD model too, to pick the mesh")  # fmt: skip
    parser.add_argument("--solver", default=SOLVERS[0], choices=SOLVERS,
                        help="numba: this package's; torch, pytorch3d: the paper's 144 starts and "
                        "300 Adam steps, some seconds an object (docs/reference.md)")  # fmt: skip
    parser.add_argument("--one-look", action="store_true", help="no look at the mirror image, "
                        "where the model has one: half the time, more flips")  # fmt: skip
    parser.add_argument("--limit", type=int, help="only so many objects, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--processes", type=int, default=1,
                        help="each takes its share of the objects; times are then of a busy "
                        "machine")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all figures and one entry per object")


def run(args: argparse.Namespace) -> int:
    cv2.setNumThreads(args.threads)
    samples, skipped, split = load(args)  # before the model: a wrong path is told at once
    estimator = make_estimator(args)
    document = measure(args, estimator, samples)
    document |= {"split": split, "labelled": len(samples), "skipped": skipped}
    document["images"] = document.pop("images")  # the long list last
    if args.json is not None:
        write_json(args.json, document)
    print(markdown(document))
    return 0


def make_estimator(args: argparse.Namespace) -> Any:
    """The estimator that the arguments name. Raises NemoError where they do not fit each other."""
    told = args.told or args.boxes
    if args.system != "nemo":
        return _other_system(args, told)
    # a reference's search is one of one picture
    mirror = False if args.one_look or args.solver != SOLVERS[0] else None
    cold = cold_solver(args.solver, args.threads)
    return Estimator.load(args.model, threads=args.threads, cold=cold, boxes=told, mirror=mirror)


def _other_system(args: argparse.Namespace, told: str) -> Any:
    chosen = system(args.system)
    if args.solver != SOLVERS[0]:
        raise DatasetError(f"--solver {args.solver}: is of nemo, not of '{args.system}'")
    if told != BOXES[0]:
        raise DatasetError(f"--boxes/--told {told}: '{args.system}' is told of whole objects only; "
                           "give --told whole")  # fmt: skip
    return chosen.load(model_folder(args.model, args.category), args.threads)


def measure(args: argparse.Namespace, estimator: Any, samples: Sequence[Sample]) -> dict[str, Any]:
    """Evaluate the samples chosen by --limit and --seed, and say what was evaluated.

    With --processes, each loads the bundle again; `estimator` is one of it all the same.
    """
    if estimator.category != args.category:
        raise DatasetError(
            f"{args.model}: is a model of '{estimator.category}'; --category is '{args.category}'"
        )
    chosen = subset(samples, args.limit, args.seed)
    results = evaluate(estimator, chosen, args.protocol)
    if args.processes != 1:
        again = partial(make_estimator, args)
        results = evaluate_parallel(again, chosen, args.protocol, args.processes)
    progress = tqdm(results, total=len(chosen), unit="object",
                    desc=args.protocol, dynamic_ncols=True)  # fmt: skip
    return {
        "model": {"name": estimator.bundle.card.name, "sha256": estimator.bundle.digest},
        "system": args.system,
        "provider": estimator.extractor.provider,
        "dataset": args.dataset,
        "source": args.source if args.dataset == "pascal3d" else None,
        "category": args.category,
        "level": args.level or 0,
        "views": args.views,
        "protocol": args.protocol,
        "boxes": args.boxes,
        "boxes_told": args.told or args.boxes,
        "solver": args.solver,
        "one_look": args.one_look,
        "seed": args.seed,
        "limit": args.limit,
        "threads": args.threads,
        **summarise(list(progress)),
    }


def load(args: argparse.Namespace) -> tuple[list[Sample], dict[str, int], str]:
    """Samples, what was skipped by reason, and the split's name."""
    if (args.occluded_root is None) != (args.level is None):
        raise DatasetError("--occluded-root and --level belong together: give both or neither")
    if args.boxes == "visible" and args.level is None:
        raise DatasetError("--boxes visible: only occluded copies tell what is left to see; "
                           "give --occluded-root and --level")  # fmt: skip
    if args.solver != SOLVERS[0] and "visible" in (args.boxes, args.told):
        raise DatasetError(f"--solver {args.solver}: takes boxes of whole objects only")
    if args.dataset == "kitti":
        if args.level is not None:
            raise DatasetError("--occluded-root is of the PASCAL3D+ layout, not of kitti")
        street = Kitti(args.root, args.category, args.split or "all", args.views)
        return from_kitti(street.objects), dict(street.skipped), street.split
    split = args.split or "val"
    photos: Pascal3D | OccludedPascal3D
    if args.level is None:
        photos = Pascal3D(args.root, args.category, args.source, split, args.views)
    else:
        photos = OccludedPascal3D(
            args.root,
            args.occluded_root,
            args.category,
            args.level,
            args.source,
            split,
            args.views,
            args.boxes,
        )
    return from_pascal3d(photos.objects), dict(photos.skipped), split


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file. Raises DatasetError naming it where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror})") from error
