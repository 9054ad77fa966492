# SPDX-License-Identifier: Apache-2.0
"""Keep feature maps of labelled photos in a file, to compare solvers on the same maps.

    python benchmarks/solver_maps.py --model models/car --root stanford_cars3d --split train-tune \\
        --occluded-root occluded --limit 300 --out maps.npz

Levels 1 to 3 are taken from --occluded-root (made by `nemo occlude`) where it is given. --jitter
moves the boxes' sides as detectors do. Never tune a solver on val or on street scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nemo_model.checks import box_in_map, whole_sides
from nemo_model.commands import evaluate
from nemo_model.datasets.common import subset
from nemo_model.estimator import Estimator


def main() -> None:
    """Run the backbone over the photos and write the maps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/car"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--source", default="stanford")
    parser.add_argument("--split", default="train-tune")
    parser.add_argument("--occluded-root", type=Path)
    parser.add_argument("--limit", type=int, default=300, help="photos per level")
    parser.add_argument("--jitter", type=float, default=0.04, help="of box sides, share of size")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    estimator = Estimator.load(args.model)
    maps: dict[str, list[Any]] = {
        name: [] for name in ("features", "K", "box", "reliable", "R", "t", "level")
    }
    for level in range(4 if args.occluded_root else 1):
        words = ["--model", str(args.model), "--root", str(args.root), "--source", args.source,
                 "--split", args.split]  # fmt: skip
        if level:
            words += ["--occluded-root", str(args.occluded_root), "--level", str(level)]
        reader = argparse.ArgumentParser()
        evaluate.add_arguments(reader)
        rng = np.random.default_rng(level)
        for sample in subset(evaluate.load(reader.parse_args(words))[0], args.limit, 0):
            box = np.asarray(sample.box, dtype=np.float64)
            size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
            box = box + rng.normal(size=4) * args.jitter * size
            seen = estimator.observe(sample.read_image(), sample.K, box)
            T = seen.crop.R_crop_cam @ sample.T_cam_obj[:3]
            maps["features"].append(seen.features)
            maps["K"].append(seen.crop.map_K())
            maps["box"].append(box_in_map(seen.box, seen.crop))
            maps["reliable"].append(whole_sides(seen.box, seen.camera))
            maps["R"].append(T[:, :3])
            maps["t"].append(T[:, 3])
            maps["level"].append(level)
    np.savez(args.out, **{name: np.array(values) for name, values in maps.items()})  # type: ignore[arg-type]
    print(f"{args.out}: {len(maps['level'])} maps")


if __name__ == "__main__":
    main()
