# SPDX-License-Identifier: Apache-2.0
"""What it costs in accuracy when tracked objects take turns with their global search.

    python benchmarks/turns.py --package FURNITURE --cache CACHE

Package, cache and sequences as of tracking.py. A search in every n-th frame of an object
(tracker.cold_every) stands for n objects that are equally certain, of which one a frame has its
search (tracker.cold_most: 1). --looks 1 --only crossing looks at one of two objects in each frame
(tracker.look_most), the other is predicted.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from tracking import GROSS_DEG, ROOT, Tally, frames_of, truths_of

from nemo_model import Estimator
from nemo_model.sequences.build import CATEGORY, Recording, build
from nemo_model.sequences.timelines import TIMELINES
from nemo_model.tracker import Tracker, TrackerConfig
from nemo_ros.conversion import object_poses_of


def followed(recording: Recording, estimator: Estimator, every: int, looks: int = 0) -> Tally:
    """The tracker's answers, with a search in every so many frames of an object."""
    config = TrackerConfig(cold_every=every, cold_most=0, look_most=looks)
    tracker = Tracker({CATEGORY: estimator}, config)
    tally = Tally()
    for k, (frame, truth) in enumerate(
        zip(frames_of(recording), truths_of(recording), strict=True)
    ):
        tally.take(k, truth, object_poses_of(tracker.step(frame).tracks))
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, required=True, help="unpacked furniture package")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "car")
    parser.add_argument("--only", nargs="*", default=list(TIMELINES), choices=list(TIMELINES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--every", type=int, nargs="+", default=[1, 2, 4, 10])
    parser.add_argument("--looks", type=int, default=0, help="objects looked at per frame; 0: all")
    args = parser.parse_args()
    estimator = Estimator.load(args.model)
    tallies: dict[int, list[Tally]] = {every: [] for every in args.every}
    for seed, name in product(args.seeds, args.only):
        recording = build(name, args.package, args.cache, seed)
        for every, found in tallies.items():
            found.append(followed(recording, estimator, every, args.looks))
    print("every  seen  answered  < 30 deg %  < 10 deg %  median deg  wrong above 0.9")
    for every, found in tallies.items():
        errors = np.array([e for tally in found for e in tally.errors.values()])
        seen = sum(tally.visible for tally in found)
        within = [100.0 * float((errors <= limit).sum()) / seen for limit in (GROSS_DEG, 10.0)]
        wrong = sum(tally.confident_gross for tally in found)
        print(
            f"{every:5d} {seen:5d} {len(errors):9d} {within[0]:11.2f} {within[1]:11.2f} "
            f"{np.median(errors):11.2f} {wrong:16d}"
        )


if __name__ == "__main__":
    main()
