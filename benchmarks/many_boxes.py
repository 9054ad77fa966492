# SPDX-License-Identifier: Apache-2.0
"""What ten boxes of one frame cost against one, on one core, and where the time goes.

Pictures of demo/recording at 720p (see node.py) with boxes of their two cars, shifted a little.
Prints medians in ms of the stages for all boxes of a frame (crops, network, global search with its
looks at mirror images, refinement), of what a frame of the tracker is made of, and the ratios; the
last row is the tracker's own frame, in which at most look_most objects are looked at and cold_most
have their periodic search. The competition of boxes that overlap is not part of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from node import ROOT, Scene, scenes

from nemo_model.estimator import Estimator
from nemo_model.family import load_family
from nemo_model.tracking.config import TrackerConfig
from nemo_model.warm_up import warm_up

MANY = 10
SHIFT = 0.04
"""Standard deviation of a box's shift, as a share of its size."""


def boxes_of(scene: Scene, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` boxes of the scene's first two, in turn, shifted."""
    found = []
    for k in range(count):
        box = np.array(scene.boxes[k % 2].box)
        size = np.tile(box[2:] - box[:2], 2)
        found.append(box + size * np.tile(rng.normal(0.0, SHIFT, 2), 2))
    return found


def milliseconds(work: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(1e3 * (clock() - start))
    return float(np.median(times))


def stages(
    estimator: Estimator,
    scene: Scene,
    boxes: Sequence[np.ndarray],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median milliseconds of each stage for all boxes of a frame."""

    def taken(work: Callable[[], object]) -> float:
        return milliseconds(work, repeats, clock)

    K = scene.camera.K
    seen = estimator.observe_many(scene.image, K, boxes)
    pixels = np.stack([one.pixels for one in seen if one.pixels is not None])
    priors = [estimator.solve(one).T_cam_obj for one in seen]
    network = taken(lambda: estimator.extractor(pixels))
    observe = taken(lambda: estimator.observe_many(scene.image, K, boxes))
    cold = taken(lambda: [estimator.solve(one) for one in seen])
    warm = taken(lambda: [estimator.solve(s, prior=T) for s, T in zip(seen, priors, strict=True)])
    # a check that agrees needs no second look; all boxes' over their number, as any may be chosen
    checks = taken(lambda: [estimator.solve(replace(one, pixels=None)) for one in seen])
    config = TrackerConfig()
    turns = min(config.cold_most or len(seen), len(seen))
    looks = min(config.look_most or len(seen), len(seen))
    return {
        "crops": observe - network, "network": network, "global search": cold,
        "refinement": warm, "first frame (all but refinement)": observe + cold,
        "tracked frame (all but the search)": observe + warm,
        "tracked frame with a search": observe + warm + cold,
        "tracked frame, searches in turn": observe + warm + checks * turns / len(seen),
        "tracked frame, looks in turn too":
            (observe + warm) * looks / len(seen) + checks * turns / len(seen),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "car",
                        help="bundle or family; its first category is used")  # fmt: skip
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true",
                        help="count the process's own time: for a busy machine")  # fmt: skip
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    cv2.setNumThreads(1)
    estimator = load_family(args.model, threads=1, even_views=True)[0]
    warm_up(estimator)
    rows: dict[int, list[dict[str, float]]] = {1: [], MANY: []}
    for number, scene in enumerate(scenes(ROOT / "demo" / "recording", args.frames)):
        for count, found in rows.items():
            boxes = boxes_of(scene, count, np.random.default_rng(number))
            found.append(stages(estimator, scene, boxes, args.repeats, clock))
    print(f"{'ms a frame':36s} {'1 box':>8s} {f'{MANY} boxes':>9s} {'ratio':>6s}")
    for stage in rows[1][0]:
        one, many = (float(np.median([row[stage] for row in rows[n]])) for n in (1, MANY))
        print(f"{stage:36s} {one:8.2f} {many:9.2f} {many / one:6.2f}")


if __name__ == "__main__":
    main()
