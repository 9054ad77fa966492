# SPDX-License-Identifier: Apache-2.0
"""Fit a bundle's confidence and covariance on labelled objects; write them to its card."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nemo_model.bundle import Bundle, write_card
from nemo_model.calibration import Calibration
from nemo_model.datasets.common import read_image, subset
from nemo_model.datasets.occluded import OccludedPascal3D
from nemo_model.datasets.occluders import photo_paths
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.estimator import Estimator
from nemo_model.evaluation.calibrate import Trial, calibrate, cross_validate, run_trials
from nemo_model.evaluation.report import figure, percent, table
from nemo_model.evaluation.samples import Sample, from_pascal3d
from nemo_model.evaluation.trials import Case, empty_cases, object_cases, split_photos
from nemo_model.features import FeatureExtractor

FIT_PART = 0
"""The half of the photos without the category to fit on; the other half is for reports."""
KINDS = (("part", (1, 2, 3), 0.5), ("off", (0, 1, 2, 3), 0.35), ("cut", (0, 1), 0.4),
         ("small", (0, 1, 2), 0.3))  # fmt: skip
"""Other boxes than a detector's good ones: kind, levels, share of the objects."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="bundle, whose card is written")
    parser.add_argument("--root", type=Path, required=True, help="data set, PASCAL3D+ layout")
    parser.add_argument("--source", default="stanford")
    parser.add_argument("--split", default="train-tune",
                        help="train-tune, or train on new pictures where that holds few models; "
                        "never the split that is reported")  # fmt: skip
    parser.add_argument("--occluded-root", type=Path, required=True, nargs="+",
                        help="its copies by nemo occlude, of one seed each")  # fmt: skip
    parser.add_argument("--backgrounds", type=Path, required=True,
                        help="photos without the object; one half, by name, is used")  # fmt: skip
    parser.add_argument(
        "--jitter", type=float, default=0.04, help="of the boxes, share of the size"
    )
    parser.add_argument("--background-share", type=float, default=0.1,
                        help="trials without object, as a share of the others")  # fmt: skip
    parser.add_argument("--limit", type=int, help="only so many objects a level")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    photos = photo_paths([args.backgrounds])
    bundle = Bundle.load(args.model)
    plain = bundle.card.model_copy(update={"calibration": None})
    bundle = replace(bundle, card=plain)
    estimator = Estimator(bundle, FeatureExtractor(bundle.onnx_path))
    rng = np.random.default_rng(args.seed)
    trials: list[Trial] = []
    for name, cases in _objects(args, estimator.category, rng):
        trials += run_trials(estimator, tqdm(cases, desc=name, unit="box", dynamic_ncols=True))
    chosen = split_photos(photos, estimator.category, FIT_PART)
    count = int(0.5 * args.background_share * len(trials))
    for kind in ("background", "other"):
        cases = empty_cases(chosen, read_image, kind, count, rng)
        trials += run_trials(estimator, tqdm(cases, desc=kind, unit="box", dynamic_ncols=True))
    calibration = calibrate(trials, _data(args, trials))
    judged = cross_validate(trials)
    calibration = calibration.model_copy(update={"quality": {"cross_validated": judged}})
    write_card(args.model, plain.model_copy(update={"calibration": calibration}))
    print(_report(args.model, calibration, judged))
    return 0


def _objects(
    args: argparse.Namespace, category: str, rng: np.random.Generator
) -> Iterator[tuple[str, Iterator[Case]]]:
    """Name and cases of every level and kind."""
    groups = _groups(args.root)
    roots: list[Path] = args.occluded_root

    def samples(level: int, root: Path) -> list[Sample]:
        found: Pascal3D | OccludedPascal3D
        if level == 0:
            found = Pascal3D(args.root, category, args.source, args.split)
        else:
            found = OccludedPascal3D(args.root, root, category, level, args.source, args.split)
        return subset(from_pascal3d(found.objects), args.limit, args.seed)

    levels = {(level, root): samples(level, root) for level in range(4) for root in roots}
    for number, root in enumerate(roots):
        jitter = (args.jitter, 0.0, 2.0 * args.jitter)[number % 3]
        for level in range(4):
            made = object_cases(levels[level, root], level, jitter, groups, rng)
            yield f"L{level}", made
    for kind, where, share in KINDS:
        parts = [
            object_cases(
                levels[level, roots[level % len(roots)]], level, args.jitter, groups, rng, share,
                kind, roots[level % len(roots)], category,
            )
            for level in where
        ]  # fmt: skip
        yield kind, chain.from_iterable(parts)


def _groups(root: Path) -> dict[str, str]:
    """Name of a photo -> finer class (car model), from classes.csv where there is one."""
    path = root / "classes.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row["class"] for row in csv.DictReader(file)}


def _data(args: argparse.Namespace, trials: list[Trial]) -> str:
    counts: dict[str, int] = {}
    for one in trials:
        name = f"L{one.level}" if one.kind == "object" else one.kind
        counts[name] = counts.get(name, 0) + 1
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    groups = len({one.group for one in trials if one.error is not None})
    kind = "models" if _groups(args.root) else "photos"
    return (
        f"{args.source} {args.split}, {len(args.occluded_root)} occluded copies, boxes jittered by "
        f"{args.jitter:g} of their size and more, seed {args.seed}; {groups} {kind}, {len(trials)} "
        f"boxes: {listed} (part: around the visible part; off: misplaced; cut: by the image's "
        "edge; small: shrunk; background and other: no such object)"
    )


def _report(model: Path, calibration: Calibration, judged: dict[str, Any]) -> str:
    """What was fitted on, and the figures of the cross-validation."""
    text = f"{model}: fitted on {calibration.data}"
    if not judged:
        return (
            f"{text}\nwarning: too few models (or photos) to cross-validate; one unlike the others "
            "spoils the scores: fit on pictures of more (docs/confidence.md)"
        )
    rows, empty = [], []
    for name, row in judged.items():
        if "median_score" in row:
            empty.append(f"{name}: median score {figure(row['median_score'], 3)}")
            continue
        inside = [percent(row["covariance"][f"inside_{share}"]) for share in (50, 90, 99)]
        rows.append([
            name, str(row["n"]), percent(row["right"]), figure(row["auroc"], 3),
            figure(row["ece"], 3), figure(row["nll"], 3), figure(row["within_10"]["auroc"], 3),
            figure(row["within_10"]["ece"], 3), " / ".join(inside),
        ])  # fmt: skip
    header = ["", "n", "< 30 deg %", "AUROC", "ECE", "NLL", "AUROC < 10", "ECE < 10",
              "inside 50 / 90 / 99 % ellipsoids"]  # fmt: skip
    title = "cross-validated, no model (or photo, where no models are told) on both sides:"
    return "\n".join([text, title, table(header, rows), *empty])
