#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tracker on rendered sequences and on a real drive, against each frame by itself.

    python benchmarks/tracking.py --package FURNITURE --cache CACHE --lead-car kitti_lead_car

FURNITURE is where Debian's sweethome3d-furniture was unpacked: see `nemo synth-sequence --help`.
Frame by frame is the same estimator with a global search on every box; where a frame has no box,
or not yet, its last answer is held for at most HOLD_S. Writes results/tracking.json and .md.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tracking_report import HOLD_S, SEEN, markdown

from nemo_model import Estimator
from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.pose import angles_from_rotation
from nemo_model.sequences.build import CATEGORY, Recording, build
from nemo_model.sequences.timelines import TIMELINES
from nemo_model.tracker import Frame, LateBoxes, State, Tracker, TrackerConfig
from nemo_ros import scoring
from nemo_ros.conversion import ObjectPose, object_poses_of
from nemo_ros.diagnostics import percentile

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LEAD_CAR_SIZE_M = (1.75, 4.67, 1.50)
INSIDE = 0.3
"""An object hidden by at most SEEN, and with this share in the image, is one that can be seen."""
GONE = 0.95
"""Hidden by at least this share: there is nothing to see."""
GROSS_DEG = 30.0
CORNERS = TrackerConfig().roll_corners


@dataclass
class Tally:
    """Answers about objects that can be seen, and what was published otherwise."""

    errors: dict[tuple[int, str], float] = field(default_factory=dict)
    scores: dict[tuple[int, str], float] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    visible: int = 0
    confident_gross: int = 0

    def take(
        self, step: int, truth: Sequence[tuple[ObjectPose, bool]], found: Sequence[ObjectPose]
    ) -> None:
        """truth: with whether it can be seen."""
        sight = {pose.id: seen for pose, seen in truth}
        self.visible += sum(sight.values())
        for match in scoring.match_frame(0, [pose for pose, _ in truth], found):
            gross = match.rotation_deg > GROSS_DEG
            self.confident_gross += gross and match.score > 0.9
            self.names.setdefault(match.truth_id, []).append(match.track_id)
            if sight[match.truth_id]:
                self.errors[step, match.truth_id] = match.rotation_deg
                self.scores[step, match.truth_id] = match.score

    def figures(self) -> dict[str, Any]:
        """Plain numbers."""
        errors = list(self.errors.values())
        gross = sum(e > GROSS_DEG for e in errors)
        return {
            "visible": self.visible,
            "answered": len(errors),
            "median_deg": float(np.median(errors)),
            "mean_deg": float(np.mean(errors)),
            "p90_deg": float(np.percentile(errors, 90)),
            "gross": gross,
            "gross_or_missing": gross + self.visible - len(errors),
            "confident_gross": self.confident_gross,
        }


def frames_of(recording: Recording) -> list[Frame]:
    """What the tracker gets, frame by frame."""
    result = []
    for step in recording.steps:
        own = [f for f in step.arrived if f.stamp_ns == step.stamp_ns]
        late = [f for f in step.arrived if f.stamp_ns != step.stamp_ns]
        result.append(
            Frame(
                step.image,
                recording.camera,
                step.stamp_ns,
                own[0].detections if own else (),
                tuple(LateBoxes(f.stamp_ns, f.detections) for f in late),
            )
        )
    return result


def truths_of(recording: Recording) -> list[list[tuple[ObjectPose, bool]]]:
    """Poses of every frame, and whether each can be seen."""
    zero = np.zeros((6, 6))
    return [
        [
            (
                ObjectPose(t.id, CATEGORY, 1.0, t.T_cam_obj, zero, t.size),
                t.hidden <= SEEN and t.inside >= INSIDE,
            )
            for t in step.truths
        ]
        for step in recording.steps
    ]


def frame_by_frame(recording: Recording, estimator: Estimator) -> Tally:
    """Every box by a global search; the last answer is held where there is none."""
    tally, truths = Tally(), truths_of(recording)
    images = {step.stamp_ns: step.image for step in recording.steps}
    held: list[tuple[int, list[ObjectPose]]] = []
    for k, step in enumerate(recording.steps):
        for found in step.arrived:
            poses = []
            for detection in found.detections:
                e = estimator.estimate(images[found.stamp_ns], recording.camera.K, detection.box)
                poses.append(ObjectPose("", CATEGORY, e.score, e.T_cam_obj, e.covariance, e.size))
            if poses:
                held.append((found.stamp_ns, poses))
        recent = [p for stamp, p in held if step.stamp_ns - stamp <= HOLD_S * 1e9]
        poses = list(recent[-1]) if recent else []
        if recent and len(held) > 1 and len(recent) > 1:  # objects that only the frame before had
            matched = scoring.match_frame(0, [p for p, _ in truths[k]], poses)
            missing = {p.id for p, _ in truths[k]} - {m.truth_id for m in matched}
            poses += recent[-2] if missing else []
        tally.take(k, truths[k], poses)
    return tally


def tracked(recording: Recording, estimator: Estimator) -> tuple[Tally, dict[str, Any]]:
    """The tracker; and how it took the objects' disappearing."""
    tracker = Tracker({CATEGORY: estimator})
    tally, truths = Tally(), truths_of(recording)
    published: list[set[str]] = []
    states: list[dict[str, State]] = []
    for k, frame in enumerate(frames_of(recording)):
        result = tracker.step(frame)
        poses = object_poses_of(result.tracks)
        tally.take(k, truths[k], poses)
        matches = scoring.match_frame(0, [p for p, _ in truths[k]], poses)
        published.append({m.truth_id for m in matches if m.rotation_deg <= GROSS_DEG})
        states.append({t.id: t.state for t in (*result.tracks, *result.unseen)})
    extra = {
        "id_switches": sum(a != b for names in tally.names.values() for a, b in pairwise(names))
    }
    return tally, extra | _gaps(recording, tally, published, states)


def _gaps(
    recording: Recording, tally: Tally, published: list[set[str]], states: list[dict[str, State]]
) -> dict[str, Any]:
    """Frames until a hidden object is said to be lost, and until it is found again."""
    said, lost, again = [], [], []
    for name in sorted({t.id for step in recording.steps for t in step.truths}):
        hidden = [next(t for t in step.truths if t.id == name).hidden for step in recording.steps]
        gone = [k for k, share in enumerate(hidden) if share >= GONE]
        tracks = tally.names.get(name, [])
        if not gone or not tracks:
            continue
        first = gone[0]
        track = tracks[0]
        not_tracked = (State.OCCLUDED, State.LOST)
        said.append(
            next(
                (k - first for k in range(first, len(states))
                 if states[k].get(track, State.LOST) in not_tracked),
                None,
            )
        )  # fmt: skip
        lost.append(
            next(
                (k - first for k in range(first, len(states))
                 if states[k].get(track, State.LOST) is State.LOST),
                None,
            )
        )  # fmt: skip
        back = next((k for k in range(gone[-1], len(hidden)) if hidden[k] <= SEEN), None)
        if back is not None:
            again.append(
                next((k - back for k in range(back, len(hidden)) if name in published[k]), None)
            )
    return {
        "frames_until_said": said,
        "frames_until_lost": lost,
        "frames_until_found": again,
    }


# -- the real drive -------------------------------------------------------------------------------


def lead_car(folder: Path, model: Path) -> dict[str, Any]:
    """kitti_lead_car: the rear view, its distance against the lidar, and the identity."""
    info = json.loads((folder / "camera_info.json").read_text())
    camera = Camera(np.array(info["K"]).reshape(3, 3), info["width"], info["height"])
    images = sorted(path for path in (folder / "images").iterdir() if path.is_file())
    with (folder / "lead_car.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result: dict[str, Any] = {"frames": len(rows)}
    for name, size in (("prior_size", None), ("true_size", LEAD_CAR_SIZE_M)):
        estimator = Estimator.load(model, size_m=size)
        tracker = Tracker({CATEGORY: estimator})
        rear = np.array([0.0, estimator.mesh.hi[1] * estimator.metres_per_unit, 0.0])
        turns: dict[bool, list[float]] = {True: [], False: []}
        gaps: dict[bool, list[float]] = {True: [], False: []}
        ids = []
        for row in rows:
            x1, y1, x2, y2 = (float(row[key]) for key in ("x1", "y1", "x2", "y2"))
            image = cv2.imread(str(images[int(row["frame"])]))[:, :, ::-1]
            stamp = round(float(row["time_s"]) * 1e9) + 1
            boxes = (Detection((x1, y1, x2, y2), CATEGORY),)
            done = tracker.step(Frame(np.ascontiguousarray(image), camera, stamp, boxes))
            if not done.tracks:
                continue
            track, cut = done.tracks[0], row["truncated"] != "0"
            ids.append(track.id)
            estimate = track.estimate
            azimuth = math.degrees(angles_from_rotation(estimate.rotation)[0])
            turns[cut].append(abs(azimuth - 180.0))
            true = row["rear_plane_distance_m"]
            if true:
                distance = float((estimate.rotation @ rear + estimate.position)[2])
                gaps[cut].append(abs(distance / float(true) - 1.0))
        every, all_gaps = turns[False] + turns[True], gaps[False] + gaps[True]
        limit = 0.15 if size is None else 0.07
        result[name] = {
            "answered": len(every),
            "within_10_deg": float(np.mean(np.array(every) <= 10.0)),
            "distance_median_share": float(np.median(all_gaps)),
            "distance_p95_share": float(np.percentile(all_gaps, 95)),
            "distance_limit_share": limit,
            "distance_within_limit": float(np.mean(np.array(all_gaps) <= limit)),
            "distance_median_share_uncut": float(np.median(gaps[False])),
            "distance_median_share_cut": float(np.median(gaps[True])) if gaps[True] else None,
            "id_switches": sum(a != b for a, b in pairwise(ids)),
        }
    return result


# -- time -----------------------------------------------------------------------------------------


def timing(recording: Recording, estimator: Estimator, rounds: int = 2) -> list[dict[str, Any]]:
    """Milliseconds per frame with several objects: the sequence's boxes, copied and shifted."""
    rows = []
    for count in (1, 3, 10):
        for budget, timed, corners in (
            (0.0, False, 0),
            (0.0, False, CORNERS),
            (20.0, False, CORNERS),
            (20.0, True, CORNERS),
            (40.0, False, CORNERS),
            (40.0, True, CORNERS),
        ):
            spent: list[float] = []
            waited = 0
            clock = time.perf_counter if timed else None
            for r in range(rounds + 1):
                config = TrackerConfig(budget_ms=budget, roll_corners=corners)
                tracker = Tracker({CATEGORY: estimator}, config, clock)
                rng = np.random.default_rng(count)
                for frame in frames_of(recording):
                    boxes = [
                        _shifted(frame.detections[i % len(frame.detections)], i, rng)
                        for i in range(count)
                        if frame.detections
                    ]
                    begin = time.perf_counter()
                    result = tracker.step(replace(frame, detections=tuple(boxes)))
                    if r:  # the first round warms up
                        spent.append(1e3 * (time.perf_counter() - begin))
                        waited += result.waiting
            rows.append(
                {
                    "objects": count,
                    "budget_ms": budget,
                    "counted_by": "clock" if timed else "table",
                    "roll": corners > 0,
                    "frames": len(spent),
                    **{f"p{s}_ms": percentile(spent, s / 100) for s in (50, 95, 99)},
                    "max_ms": max(spent),
                    "over_budget": None if not budget else float(np.mean(np.array(spent) > budget)),
                    "waiting_per_frame": waited / len(spent),
                }
            )
    return rows


def _shifted(detection: Detection, index: int, rng: np.random.Generator) -> Detection:
    x1, y1, x2, y2 = detection.box
    dx, dy = rng.normal(0.0, 2.0, 2)
    return Detection((x1 + dx, y1 + dy, x2 + dx, y2 + dy), CATEGORY, 0.9, f"copy {index}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, required=True, help="unpacked furniture package")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "car")
    parser.add_argument("--lead-car", type=Path, help="folder of kitti_lead_car")
    parser.add_argument("--only", nargs="*", default=list(TIMELINES), choices=list(TIMELINES))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--no-timing", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--machine", default="2 CPU cores, no GPU")
    args = parser.parse_args(argv)
    estimator = Estimator.load(args.model)

    def load(name: str, seed: int) -> Recording:
        return build(name, args.package, args.cache, seed)

    document: dict[str, Any] = {
        "command": "python benchmarks/tracking.py --package FURNITURE --cache CACHE "
        "--lead-car kitti_lead_car",
        "model": f"{estimator.bundle.card.name} {estimator.bundle.digest[:12]}",
        "machine": args.machine,
        "sequences": [],
    }
    for seed, name in product(args.seeds, args.only):
        recording = load(name, seed)
        tally, extra = tracked(recording, estimator)
        document["sequences"].append(
            {
                "name": name,
                "seed": seed,
                "text": recording.timeline.text,
                "tracker": tally.figures(),
                "frame_by_frame": frame_by_frame(recording, estimator).figures(),
                **extra,
            }
        )
        print(json.dumps(document["sequences"][-1]), flush=True)
    if args.lead_car is not None:
        document["lead_car"] = lead_car(args.lead_car, args.model)
        print(json.dumps(document["lead_car"]), flush=True)
    if not args.no_timing:
        document["load"] = os.getloadavg()[0]
        document["timing"] = timing(load("crossing", args.seeds[0]), estimator)
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    (args.out / "tracking.json").write_text(text)
    (args.out / "tracking.md").write_text(markdown(document))
    print(markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
