# SPDX-License-Identifier: Apache-2.0
"""Run the pose pipeline on a bag and, with ground truth, score it.

The same joiner, conversion and tracker as the live node, without DDS. The JSON file depends on the
bag and the settings alone: two runs write the same bytes. Times go to FILE.timing.json and into
the report.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_model import overlay
from nemo_model.errors import NemoError
from nemo_model.estimator import BOXES
from nemo_model.symmetry import NONE
from nemo_model.tracker import Tracker
from nemo_ros import conversion, report, scoring
from nemo_ros import replay as replaying
from nemo_ros.bags import FORMATS, Bag, BagWriter
from nemo_ros.bagtypes import DETECTIONS_3D, IMAGE
from nemo_ros.gallery import Gallery
from nemo_ros.movie import Movie
from nemo_ros.pipeline import GEOMETRIES, load_estimators, parse_class_map, warm_up
from nemo_ros.replay import FrameRecord, ReplayConfig, Tally, Topics
from nemo_ros.settings import default_model, read_parameters
from nemo_ros.timing import Timing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", type=Path, help="a bag's folder, a .mcap or a .db3 file")
    parser.add_argument(
        "--model", action="append", help="a model bundle's folder, once per category (models/car)"
    )
    parser.add_argument("--params", type=Path, help="the node's parameter file (config/pose.yaml)")
    parser.add_argument("--boxes", choices=BOXES, help="what the boxes enclose: whole objects or "
                        "what is visible of them; default: the parameter file's")  # fmt: skip
    parser.add_argument("--json", type=Path, help="poses, scores and problems")
    parser.add_argument("--report", type=Path, help="one HTML page")
    parser.add_argument("--overlay", type=Path, help="film: .mp4, .avi, .gif or .webp")
    parser.add_argument("--output-bag", type=Path, help="bag with /nemo/poses (and overlay)")
    parser.add_argument("--format", choices=sorted(FORMATS), default="mcap", help="of that bag")
    parser.add_argument("--overlay-in-bag", action="store_true", help="add /nemo/overlay to it")
    parser.add_argument("--ground-truth", default="", metavar="TOPIC", help="Detection3DArray")
    parser.add_argument("--image-topic", default="", help="else found by its type")
    parser.add_argument("--camera-info-topic", default="", help="else found by its type")
    parser.add_argument("--detections-topic", default="", help="else found by its type")
    parser.add_argument("--image-geometry", choices=GEOMETRIES, help="as the parameter of the node")
    parser.add_argument("--class-map", action="append", metavar="CLASS=CATEGORY")
    parser.add_argument("--ignore-ids", action="store_true", help="join boxes by overlap alone")
    parser.add_argument("--threads", type=int, help="of the backbone, on the CPU")
    parser.add_argument("--limit", type=int, default=0, help="frames; 0: all")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Replay, write what was asked for, print a summary."""
    if args.limit < 0:
        raise NemoError(f"--limit is {args.limit}, it must be 0 (all frames) or more")
    settings = read_parameters(args.params)
    config = _with_options(settings.replay, args)
    for path in (args.json, args.report, args.overlay):
        if path is not None and path.is_dir():
            raise NemoError(f"{path}: is a folder, a file name is needed")
    bag = Bag(args.bag)
    topics = replaying.choose_topics(
        bag, args.image_topic, args.camera_info_topic, args.detections_topic, args.ground_truth
    )
    truth = replaying.read_truth(bag, topics.ground_truth) if topics.ground_truth else {}
    model = ",".join(args.model or []) or settings.model or str(default_model())
    estimators = load_estimators(
        model, args.threads or settings.threads, settings.providers, args.boxes or settings.boxes
    )
    warm_up(estimators)
    tracker = Tracker(estimators, config.tracker)
    tally, timing = Tally(), Timing()
    symmetries = {name: getattr(e, "symmetry", NONE) for name, e in estimators.items()}
    gallery = Gallery(truth, symmetries) if args.report else None
    frames: list[dict[str, Any]] = []
    answers: list[scoring.Answer] = []
    samples: list[report.Sample] = []
    with ExitStack() as stack:
        sinks = _Sinks(args, stack)
        total = min(bag.topics[topics.image].count, args.limit or sys.maxsize)
        bar = tqdm(total=total, unit="frame", disable=args.quiet or not sys.stderr.isatty())
        stack.enter_context(bar)
        for record in replaying.replay(bag, topics, tracker, config, tally):
            bar.update()
            frames.append(replaying.frame_json(record))
            answers.append(record.answer())
            start = answers[0].stamp_ns
            samples += _samples(record, start)
            timing.add(record)
            sinks.add(record)
            if gallery is not None:
                gallery.add(record, start)
    if args.limit and answers:  # what comes after was not asked for, so it is not missed
        truth = {stamp: t for stamp, t in truth.items() if stamp <= answers[-1].stamp_ns}
    scores = scoring.score(answers, truth, symmetries) if topics.ground_truth else None
    losses = bag.loss.words()
    if args.json is not None:
        content = {
            "bag": args.bag.name,
            "topics": asdict(topics),
            "models": _models(estimators),
            "settings": replaying.config_json(config),
            "counts": _counts(tally, topics, bag),
            "losses": losses,
            "scores": None if scores is None else scoring.as_json(scores),
            "problems": [asdict(problem) for problem in tally.problems],
            "frames": frames,
        }
        _write_json(args.json, content)
        _write_json(args.json.with_suffix(".timing.json"), timing.as_json())
    if args.report is not None:
        assert gallery is not None
        page = report.Report(
            title=f"Replay of {args.bag.name}",
            facts=_facts(args, topics, estimators, config, tally),
            frames=len(frames),
            samples=samples,
            latency_ms=timing.series,
            scores=scores,
            start_ns=answers[0].stamp_ns if answers else 0,
            worst=gallery.pictures(),
            problems=Counter(str(problem) for problem in tally.problems),
            losses=losses,
        )
        report.write(args.report, page)
    _print_summary(args, tally, timing, scores, losses)
    return 0 if tally.frames else 1


class _Sinks:
    """Film and output bag, where they are wanted."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self._movie: Movie | None = None
        self._bag: BagWriter | None = None
        self._overlay_in_bag = bool(args.overlay_in_bag)
        if args.overlay is not None:
            self._movie = stack.enter_context(Movie(args.overlay))
        if args.output_bag is not None:
            self._bag = stack.enter_context(BagWriter(args.output_bag, args.format))

    def add(self, record: FrameRecord) -> None:
        outcome = record.outcome
        drawn = None
        if self._movie is not None or (self._bag is not None and self._overlay_in_bag):
            drawn = overlay.draw(outcome.frame.image, outcome.result.tracks)
        if self._movie is not None and drawn is not None:
            self._movie.add(drawn, record.stamp_ns)
        if self._bag is None:
            return
        make = self._bag.messages
        header = conversion.header(make, record.stamp_ns, record.frame_id)
        poses = conversion.poses_message(make, header, outcome.result.tracks)
        self._bag.write("/nemo/poses", DETECTIONS_3D, record.stamp_ns, poses)
        if self._overlay_in_bag and drawn is not None:
            image = conversion.image_message(make, header, drawn)
            self._bag.write("/nemo/overlay", IMAGE, record.stamp_ns, image)


def _with_options(config: ReplayConfig, args: argparse.Namespace) -> ReplayConfig:
    """The command line's word before the parameter file's."""
    pipeline = config.pipeline
    if args.image_geometry:
        pipeline = replace(pipeline, image_geometry=args.image_geometry)
    if args.class_map:
        pipeline = replace(pipeline, class_map=parse_class_map(args.class_map))
    if args.ignore_ids:
        pipeline = replace(pipeline, use_detection_ids=False)
    return replace(config, pipeline=pipeline, limit=args.limit)


def _samples(record: FrameRecord, start_ns: int) -> list[report.Sample]:
    return [
        report.Sample(
            time_s=(record.stamp_ns - start_ns) * 1e-9,
            track_id=track.id,
            score=track.estimate.score,
            visible_fraction=track.estimate.visible_fraction,
            distance_m=float((track.estimate.T_cam_obj[:3, 3] ** 2).sum() ** 0.5),
        )
        for track in record.outcome.result.tracks
    ]


def _models(estimators: Mapping[str, Any]) -> dict[str, str]:
    """Category -> name and hash of its bundle."""
    return {
        category: f"{estimator.bundle.card.name} {estimator.bundle.digest}"
        for category, estimator in sorted(estimators.items())
    }


def _counts(tally: Tally, topics: Topics, bag: Bag) -> dict[str, int]:
    return {
        "frames": tally.frames,
        "images": bag.topics[topics.image].count,
        "boxes_messages": bag.topics[topics.detections].count,
        "images_without_boxes": tally.images_without_boxes,
        "boxes_without_image": tally.boxes_without_image,
        "problems": len(tally.problems),
    }


def _facts(
    args: argparse.Namespace,
    topics: Topics,
    estimators: Mapping[str, Any],
    config: ReplayConfig,
    tally: Tally,
) -> dict[str, str]:
    facts = {"bag": str(args.bag)}
    facts |= {f"topic of {name}": value for name, value in asdict(topics).items() if value}
    for category, text in _models(estimators).items():
        facts[f"model of {category}"] = text
        facts[f"provider of {category}"] = estimators[category].extractor.provider
    facts["settings"] = json.dumps(replaying.config_json(config))
    facts["images without boxes"] = str(tally.images_without_boxes)
    facts["boxes without an image"] = str(tally.boxes_without_image)
    return facts


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _print_summary(
    args: argparse.Namespace,
    tally: Tally,
    timing: Timing,
    scores: scoring.Scores | None,
    losses: list[str],
) -> None:
    for loss in losses:
        print(f"nemo replay: warning: {loss}", file=sys.stderr)
    p50, p95 = timing.percentile("total", 0.5), timing.percentile("total", 0.95)
    print(f"{args.bag.name}: {tally.frames} frames, {p50:.0f} ms each (p95 {p95:.0f})")
    if not tally.frames:
        print(
            f"  no frame was answered: {tally.images_without_boxes} images without boxes, "
            f"{tally.boxes_without_image} box messages without an image, "
            f"{len(tally.problems)} problems"
        )
        if tally.images_without_boxes and tally.boxes_without_image:
            print("  do their stamps differ? join_tolerance_ms in the parameter file joins them")
    if scores is not None:
        print(scoring.as_text(scores))
    for text, count in Counter(str(problem) for problem in tally.problems).most_common(5):
        print(f"  {count} x {text}")
    for path in (args.json, args.report, args.overlay, args.output_bag):
        if path is not None:
            print(f"  wrote {path}")
