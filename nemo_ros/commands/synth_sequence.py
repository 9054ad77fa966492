# SPDX-License-Identifier: Apache-2.0
"""Render sequences with ground truth, as bags that `nemo replay` scores.

Cars of Debian's sweethome3d-furniture (CC-BY 3.0, see demo/LICENSES) on a generated street: an
approach, a turn, a full occlusion, two cars that cross, a shaking camera; boxes that are dropped,
late or jittered. Get the models once:

    apt-get download sweethome3d-furniture && dpkg -x sweethome3d-furniture_*.deb FURNITURE
    nemo synth-sequence turn occlusion --package FURNITURE --out sequences
    nemo replay sequences/turn --ground-truth /ground_truth/poses --report turn.html
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from nemo_model.errors import NemoError
from nemo_model.sequences.build import CATEGORY, Recording, Truth, build
from nemo_model.sequences.timelines import TIMELINES
from nemo_ros import conversion
from nemo_ros.bags import FORMATS, BagWriter
from nemo_ros.bagtypes import CAMERA_INFO, DETECTIONS_2D, DETECTIONS_3D, IMAGE
from nemo_ros.conversion import ObjectPose

IMAGE_TOPIC = "/camera/image_rect"
INFO_TOPIC = "/camera/camera_info"
BOXES_TOPIC = "/detections"
TRUTH_TOPIC = "/ground_truth/poses"
FRAME_ID = "camera_optical_frame"
HIDDEN, INSIDE = 0.9, 0.3
"""The bag's ground truth holds objects hidden by at most, and inside the image by at least this
share; the CSV holds all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"{', '.join(TIMELINES)}, or all")
    parser.add_argument(
        "--package", type=Path, required=True, help="where sweethome3d-furniture was unpacked"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bags")
    parser.add_argument("--cache", type=Path, help="folder of the pictures (OUT/cache)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="frames; 0: all")
    parser.add_argument("--format", choices=sorted(FORMATS), default="mcap")


def run(args: argparse.Namespace) -> int:
    """Write one bag and one CSV of the truth per sequence."""
    names = list(TIMELINES) if "all" in args.names else args.names
    unknown = [name for name in names if name not in TIMELINES]
    if unknown:
        raise NemoError(f"{', '.join(unknown)}: not known; there are {', '.join(TIMELINES)}")
    if args.limit < 0 or args.seed < 0:
        raise NemoError("--limit and --seed must not be negative")
    cache = args.cache or args.out / "cache"
    for name in names:
        recording = build(name, args.package, cache, args.seed, args.limit)
        write_bag(recording, args.out / name, args.format)
        write_truth(recording, args.out / f"{name}.csv")
        print(f"{args.out / name}: {len(recording.steps)} frames, {recording.timeline.text}")
    return 0


def write_bag(recording: Recording, out: Path, form: str = "mcap") -> None:
    """A bag in the order in which things would arrive: late boxes after their image."""
    with BagWriter(out, form) as bag:
        make = bag.messages
        for step in recording.steps:
            header = conversion.header(make, step.stamp_ns, FRAME_ID)
            info = conversion.camera_message(make, header, recording.camera)
            bag.write(INFO_TOPIC, CAMERA_INFO, step.stamp_ns, info)
            for found in step.arrived:
                own = conversion.header(make, found.stamp_ns, FRAME_ID)
                boxes = conversion.boxes_message(make, own, found.detections)
                bag.write(BOXES_TOPIC, DETECTIONS_2D, step.stamp_ns, boxes)
            image = conversion.image_message(make, header, step.image)
            bag.write(IMAGE_TOPIC, IMAGE, step.stamp_ns, image)
            poses = [_pose(t) for t in step.truths if t.hidden <= HIDDEN and t.inside >= INSIDE]
            truth = conversion.object_poses_message(make, header, poses)
            bag.write(TRUTH_TOPIC, DETECTIONS_3D, step.stamp_ns, truth)


def write_truth(recording: Recording, path: Path) -> None:
    """One line per car and frame."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["stamp_ns", "id", "hidden", "inside", "x", "y", "z", "x1", "y1", "x2", "y2"]
        )
        for step in recording.steps:
            for t in step.truths:
                numbers = [t.hidden, t.inside, *t.T_cam_obj[:3, 3], *t.box]
                writer.writerow([step.stamp_ns, t.id, *(f"{v:.4f}" for v in numbers)])


def _pose(truth: Truth) -> ObjectPose:
    return ObjectPose(truth.id, CATEGORY, 1.0, truth.T_cam_obj, np.zeros((6, 6)), truth.size)
