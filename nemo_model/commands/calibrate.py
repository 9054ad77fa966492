# SPDX-License-Identifier: Apache-2.0
"""Fit a bundle's confidence and covariance scale on held-out objects; write them to its card."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nemo_model.bundle import Bundle, write_card
from nemo_model.confidence import probability
from nemo_model.datasets.common import read_image, subset
from nemo_model.datasets.occluded import OccludedPascal3D
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation.calibrate import (
    Trial,
    background_trials,
    calibrate,
    object_trials,
    reliability,
)
from nemo_model.evaluation.samples import from_pascal3d
from nemo_model.features import FeatureExtractor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="bundle, whose card is written")
    parser.add_argument("--root", type=Path, required=True, help="data set, PASCAL3D+ layout")
    parser.add_argument("--source", default="stanford")
    parser.add_argument("--split", default="train-tune", help="never the split that is reported")
    parser.add_argument(
        "--occluded-root", type=Path, required=True, help="its copies by nemo occlude"
    )
    parser.add_argument("--backgrounds", type=Path, required=True, help="photos without the object")
    parser.add_argument(
        "--jitter", type=float, default=0.04, help="of the boxes, share of the size"
    )
    parser.add_argument("--background-share", type=float, default=0.2, help="trials without object")
    parser.add_argument("--limit", type=int, help="only so many objects a level")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    pictures = _photos(args.backgrounds)
    bundle = Bundle.load(args.model)
    plain = bundle.card.model_copy(update={"calibration": None})
    bundle = Bundle(
        bundle.folder, plain, bundle.mesh, bundle.features, bundle.clutter, bundle.outline
    )
    estimator = Estimator(bundle, FeatureExtractor(bundle.onnx_path))
    rng = np.random.default_rng(args.seed)
    trials: list[Trial] = []
    for level in range(4):
        category = estimator.category
        photos: Pascal3D | OccludedPascal3D
        if level == 0:
            photos = Pascal3D(args.root, category, args.source, args.split)
        else:
            photos = OccludedPascal3D(
                args.root, args.occluded_root, category, level, args.source, args.split
            )
        samples = subset(from_pascal3d(photos.objects), args.limit, args.seed)
        trials += object_trials(estimator, tqdm(samples, desc=f"L{level}"), args.jitter, rng)
    trials += background_trials(estimator, pictures, int(args.background_share * len(trials)), rng)
    calibration = calibrate(
        trials, f"{args.split}, L0 to L3, boxes jittered by {args.jitter}, {len(trials)} trials"
    )
    write_card(args.model, plain.model_copy(update={"calibration": calibration}))
    scores = np.array([probability(calibration, t.statistics) for t in trials])
    quality = reliability(scores, np.array([float(t.right) for t in trials]))
    print(f"{args.model}: fitted on {calibration.data} (in-sample figures:)")
    print("  " + ", ".join(f"{name} {value:.3f}" for name, value in quality.items()))
    return 0


def _photos(folder: Path) -> list[np.ndarray]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not paths:
        raise NemoError(f"{folder}: holds no .jpg or .png photos")
    return [read_image(path) for path in paths]
