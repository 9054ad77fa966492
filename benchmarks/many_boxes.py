# SPDX-License-Identifier: Apache-2.0
"""What ten boxes of one frame cost against one, on one core, and where the time goes.

Pictures of demo/recording at 720p (see node.py) with boxes of their two cars, shifted a little.
Prints medians in ms of the stages for all boxes of a frame (crops, network, global search with its
looks at mirror images, refinement), of what a frame of the tracker is made of, and the ratios. The
competition of boxes that overlap is not part of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from node import ROOT, Scene, scenes

from nemo_model.estimator import Estimator
from nemo_model.family import load_family
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


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def stages(
    estimator: Estimator, scene: Scene, boxes: Sequence[np.ndarray], repeats: int
) -> dict[str, float]:
    """Median milliseconds of each stage for all boxes of a frame."""
    K = scene.camera.K
    seen = estimator.observe_many(scene.image, K, boxes)
    pixels = np.stack([one.pixels for one in seen if one.pixels is not None])
    priors = [estimator.solve(one).T_cam_obj for one in seen]
    network = milliseconds(lambda: estimator.extractor(pixels), repeats)
    observe = milliseconds(lambda: estimator.observe_many(scene.image, K, boxes), repeats)
    cold = milliseconds(lambda: [estimator.solve(one) for one in seen], repeats)
    warm = milliseconds(
        lambda: [estimator.solve(s, prior=T) for s, T in zip(seen, priors, strict=True)], repeats
    )
    return {
        "crops": observe - network, "network": network, "global search": cold,
        "refinement": warm, "first frame (all but refinement)": observe + cold,
        "tracked frame (all but the search)": observe + warm,
        "tracked frame with a search": observe + warm + cold,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "car",
                        help="bundle or family; its first category is used")  # fmt: skip
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    estimator = load_family(args.model, threads=1, even_views=True)[0]
    warm_up(estimator)
    rows: dict[int, list[dict[str, float]]] = {1: [], MANY: []}
    for number, scene in enumerate(scenes(ROOT / "demo" / "recording", args.frames)):
        for count, found in rows.items():
            boxes = boxes_of(scene, count, np.random.default_rng(number))
            found.append(stages(estimator, scene, boxes, args.repeats))
    print(f"{'ms a frame':36s} {'1 box':>8s} {f'{MANY} boxes':>9s} {'ratio':>6s}")
    for stage in rows[1][0]:
        one, many = (float(np.median([row[stage] for row in rows[n]])) for n in (1, MANY))
        print(f"{stage:36s} {one:8.2f} {many:9.2f} {many / one:6.2f}")


if __name__ == "__main__":
    main()
