# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a bundle, the README's table: L0 to L3 and the street, under both protocols.

    python benchmarks/accuracy.py --root ../shared/data/stanford_cars3d \\
        --occluders ../shared/data/backgrounds --kitti ../shared/data/kitti_cars \\
        --lead-car ../shared/data/kitti_lead_car

writes benchmarks/results/accuracy.json and accuracy.md. The occluded copies go to --occluded,
where a second run finds them again, or to a temporary folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nemo_model.bundle import read_card, write_card
from nemo_model.commands import evaluate, occlude
from nemo_model.datasets.common import DatasetError, read_image
from nemo_model.datasets.occluded import folder_name
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation import metrics
from nemo_model.evaluation.evaluate import PROTOCOLS
from nemo_model.evaluation.report import figure, percent, table
from nemo_model.pose import angles_from_rotation

LEVELS = (0, 1, 2, 3)
WALL_LEVELS = (1, 2)
WALL_LIMIT = 300
BOXES = {"the whole car": ("whole", "whole"), "the visible part, not told": ("visible", "whole"),
         "the visible part, told": ("visible", "visible")}  # fmt: skip
"""What the boxes enclose, and what the estimator is told that they do."""
RESULTS = Path(__file__).resolve().parent / "results"
LEAD_CAR_SIZE_M = (1.75, 4.67, 1.50)
"""Width, length, height of the car in kitti_lead_car."""


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    if args.root is None:
        print("accuracy: give --root and --occluders (see --help); nothing measured")
        return 0
    try:
        document = run(args)
    except NemoError as error:
        print(f"accuracy: error: {error}", file=sys.stderr)
        return 2
    text = markdown(document)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "accuracy.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    (args.out / "accuracy.md").write_text(text + "\n")
    if args.write_card:
        card = read_card(args.model)
        write_card(args.model, card.model_copy(update={"metrics": card_metrics(document)}))
    print(text)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=RESULTS.parent.parent / "models" / "car")
    parser.add_argument("--root", type=Path, help="photos in the PASCAL3D+ layout")
    parser.add_argument("--source", default="stanford")
    parser.add_argument("--split", default="val")
    parser.add_argument("--category", default="car")
    parser.add_argument("--occluders", type=Path, nargs="+", help="photos for occluders")
    parser.add_argument("--occluded", type=Path, help="folder of the occluded copies, kept")
    parser.add_argument("--kitti", type=Path, help="street scenes in KITTI's object format")
    parser.add_argument("--lead-car", type=Path, help="folder with images and lead_car.csv")
    parser.add_argument("--limit", type=int, help="photos per level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--write-card", action="store_true", help="also into the model's card")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything asked for; the lists of images are left out of the result."""
    estimator = Estimator.load(args.model, threads=args.threads)
    document: dict[str, Any] = {
        "model": {"name": estimator.bundle.card.name, "sha256": estimator.bundle.digest},
        "provider": estimator.extractor.provider,
        "source": args.source,
        "split": args.split,
        "limit": args.limit,
        "seed": args.seed,
        "photos": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        occluded = args.occluded or Path(scratch)
        for level in LEVELS:
            if level:
                _occlude(args, occluded, level)
            for protocol in PROTOCOLS:
                words = ["--root", args.root, "--source", args.source, "--split", args.split]
                if level:
                    words += ["--occluded-root", occluded, "--level", level]
                found = _evaluate(args, estimator, protocol, words, args.limit)
                document["photos"].setdefault(protocol, {})[f"L{level}"] = found
        document["walls"] = walls(args, Path(scratch))
    if args.kitti is not None:
        document["kitti"] = {
            protocol: _evaluate(
                args, estimator, protocol, ["--dataset", "kitti", "--root", args.kitti], None
            )
            for protocol in PROTOCOLS
        }
    if args.lead_car is not None:
        document["lead_car"] = lead_car(args)
    return document


def walls(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Cars hidden from one side, with boxes around the whole car and around what is left."""
    if not args.occluders:
        return {}
    limit = WALL_LIMIT if args.limit is None else args.limit
    estimators = {
        told: Estimator.load(args.model, threads=args.threads, boxes=told)
        for told in ("whole", "visible")
    }
    found: dict[str, Any] = {}
    for level in WALL_LEVELS:
        copy = out / "walls"
        if not (copy / "lists" / f"{folder_name(args.category, level)}.txt").is_file():
            _make_copy(args, copy, level, ["--shape", "wall", "--limit", limit])
        for name, (boxes, told) in BOXES.items():
            words = ["--root", args.root, "--source", args.source, "--split", args.split,
                     "--occluded-root", copy, "--level", level, "--boxes", boxes,
                     "--told", told]  # fmt: skip
            row = _evaluate(args, estimators[told], "robot", words, None)
            found.setdefault(name, {})[f"L{level}"] = row
    return found


def _occlude(args: argparse.Namespace, out: Path, level: int) -> None:
    """Make a level's occluded copy, unless it is there already."""
    if (out / "lists" / f"{folder_name(args.category, level)}.txt").is_file():
        return
    if not args.occluders:
        raise DatasetError(f"{out}: holds no occluded copy at level {level}; give --occluders")
    _make_copy(args, out, level, [] if args.limit is None else ["--limit", args.limit])


def _make_copy(args: argparse.Namespace, out: Path, level: int, more: list[Any]) -> None:
    words = ["--root", args.root, "--source", args.source, "--split", args.split,
             "--category", args.category, "--occluders", *args.occluders, "--level", level,
             "--out", out, "--seed", args.seed, *more]  # fmt: skip
    parser = argparse.ArgumentParser()
    occlude.add_arguments(parser)
    occlude.run(parser.parse_args([str(word) for word in words]))


def _evaluate(
    args: argparse.Namespace,
    estimator: Estimator,
    protocol: str,
    words: list[Any],
    limit: int | None,
) -> dict[str, Any]:
    words = ["--model", args.model, "--category", args.category, "--protocol", protocol,
             "--seed", args.seed, "--threads", args.threads, *words]  # fmt: skip
    if limit is not None:
        words += ["--limit", limit]
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    wanted = parser.parse_args([str(word) for word in words])
    found = evaluate.measure(wanted, estimator, evaluate.load(wanted)[0])
    keep = ("objects", "failed", "acc_pi_6", "acc_pi_6_interval", "acc_pi_18",
            "acc_pi_18_interval", "median_error_deg", "flip_rate", "median_position_error_m",
            "ms", "azimuth_bins", "azimuth_mean", "confidence", "covariance", "street")  # fmt: skip
    return {key: found[key] for key in keep if key in found}


def lead_car(args: argparse.Namespace) -> dict[str, Any]:
    """The car ahead, seen from behind in every frame, each frame by itself (no tracking).

    Its azimuth is about 180 degrees; the distance to its rear is known from a lidar. Once with
    the category's size prior and once with the car's true size.
    """
    folder: Path = args.lead_car
    K = np.array(json.loads((folder / "camera_info.json").read_text())["K"]).reshape(3, 3)
    images = sorted(path for path in (folder / "images").iterdir() if path.is_file())
    with (folder / "lead_car.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result: dict[str, Any] = {}
    for name, size in (("prior_size", None), ("true_size", LEAD_CAR_SIZE_M)):
        estimator = Estimator.load(args.model, threads=args.threads, size_m=size)
        lines = []
        for row in rows:
            box = np.array([float(row[key]) for key in ("x1", "y1", "x2", "y2")])
            estimate = estimator.estimate(read_image(images[int(row["frame"])]), K, box)
            azimuth = math.degrees(angles_from_rotation(estimate.rotation)[0])
            rear = np.array([0.0, estimator.mesh.hi[1] * estimator.metres_per_unit, 0.0])
            distance = (estimate.rotation @ rear + estimate.T_cam_obj[:3, 3])[2]
            true = row["rear_plane_distance_m"]
            lines.append((row["truncated"] != "0", abs((azimuth - 180 + 180) % 360 - 180),
                          abs(distance - float(true)) if true else math.nan))  # fmt: skip
        result[name] = {
            label: _lead_car_figures([line for line in lines if line[0] == cut])
            for label, cut in (("uncut", False), ("cut", True))
        }
    return result


def _lead_car_figures(lines: list[tuple[bool, float, float]]) -> dict[str, Any]:
    if not lines:
        return {"frames": 0}
    azimuths = [line[1] for line in lines]
    gaps = [line[2] for line in lines if math.isfinite(line[2])]
    return {
        "frames": len(lines),
        "azimuth_within_30": metrics.accuracy(azimuths, 30.0),
        "azimuth_within_10": metrics.accuracy(azimuths, 10.0),
        "median_azimuth_off_180_deg": metrics.median(azimuths),
        "median_distance_error_m": metrics.median(gaps) if gaps else None,
    }


def card_metrics(document: dict[str, Any]) -> dict[str, Any]:
    """The figures of a model card: accuracy by occlusion level and protocol, and the score's."""
    names = ("objects", "acc_pi_6", "acc_pi_18", "median_error_deg", "flip_rate", "confidence")
    keys = ("source", "split", "limit", "seed")
    found: dict[str, Any] = {key: document[key] for key in keys}
    found["command"] = "benchmarks/accuracy.py"
    for protocol, levels in document["photos"].items():
        found[protocol] = {
            level: {name: row[name] for name in names} for level, row in levels.items()
        }
        for row in found[protocol].values():  # the curves are in card.calibration.quality
            curves = ("risk_coverage", "reliability", "within_10")
            row["confidence"] = {k: v for k, v in row["confidence"].items() if k not in curves}
    if "kitti" in document:
        headline = document["kitti"]["robot"]["street"]["headline"]
        found["street"] = headline
    return found


def markdown(document: dict[str, Any]) -> str:
    """The tables, as the README shows them."""
    photos = document["photos"]
    count = photos["robot"]["L0"]["objects"]
    parts = [
        f"{document['model']['name']} ({document['model']['sha256'][:12]}), {count} photos of "
        f"{document['source']} {document['split']}; pi/6 / pi/18 in %, median in degrees:",
        table(
            ["protocol", *(f"L{level}" for level in LEVELS)],
            [
                [name, *(_cell(photos[name][f"L{level}"]) for level in LEVELS)]
                for name in reversed(PROTOCOLS)
            ],
        ),
        "Robot protocol by azimuth (0 sees the front, 180 the rear), pi/6 / pi/18 in %:",
        table(["azimuth", "n", *(f"L{level}" for level in LEVELS)], _azimuth_rows(photos["robot"])),
        "Robot protocol, turned by about 180 degrees, and what the score is worth for < 30 deg:",
        table(
            ["", *(f"L{level}" for level in LEVELS)],
            [
                ["flips %", *(percent(row["flip_rate"]) for row in photos["robot"].values())],
                *(
                    [key, *(figure(row["confidence"][key], 3) for row in photos["robot"].values())]
                    for key in ("auroc", "ece", "nll")
                ),
            ],
        ),
    ]
    if document.get("walls"):
        parts += [
            "Hidden from one side, as by a wall; robot protocol, by what the boxes enclose and "
            f"whether the estimator is told ({WALL_LIMIT} photos at most):",
            table(
                ["box around", *(f"L{level}" for level in WALL_LEVELS),
                 *(f"L{level}: AUROC / ECE" for level in WALL_LEVELS)],
                [[name, *(_cell(row) for row in rows.values()),
                  *(_trust(row) for row in rows.values())]
                 for name, rows in document["walls"].items()],
            ),
        ]  # fmt: skip
    if "kitti" in document:
        parts += ["Street scenes (KITTI):", _kitti_table(document["kitti"])]
    if "lead_car" in document:
        parts += ["The car ahead (KITTI drive), each frame by itself:"]
        parts.append(_lead_car_table(document["lead_car"]))
    return "\n\n".join(parts)


def _cell(row: dict[str, Any]) -> str:
    return (
        f"{percent(row['acc_pi_6'])} / {percent(row['acc_pi_18'])} / "
        f"{figure(row['median_error_deg'])}"
    )


def _trust(row: dict[str, Any]) -> str:
    score = row["confidence"]
    return f"{figure(score['auroc'], 2)} / {figure(score['ece'], 2)}"


def _azimuth_rows(levels: dict[str, Any]) -> list[list[str]]:
    def pair(row: dict[str, Any]) -> str:
        return f"{percent(row['acc_pi_6'])} / {percent(row['acc_pi_18'])}"

    first = levels["L0"]["azimuth_bins"]
    rows = [
        [f"{bin_['azimuth_deg']:g}", str(bin_["n"]),
         *(pair(level["azimuth_bins"][k]) for level in levels.values())]
        for k, bin_ in enumerate(first)
    ]  # fmt: skip
    return [*rows, ["mean", "", *(pair(level["azimuth_mean"]) for level in levels.values())]]


def _kitti_table(protocols: dict[str, Any]) -> str:
    header = ["", "n", *(f"{name}: pi/6 / pi/18 / median" for name in protocols),
              "robot: median position error m"]  # fmt: skip

    def rows(street: dict[str, Any]) -> list[dict[str, Any]]:
        return [street["headline"], street["headline_flag_2"], *street["by_occlusion"],
                *street["by_height"], street["truncated"]]  # fmt: skip

    columns = {name: rows(found["street"]) for name, found in protocols.items()}
    lines = []
    for k, row in enumerate(columns["robot"]):
        if row["n"]:
            cells = [_cell(columns[name][k]) for name in protocols]
            position = figure(row.get("median_position_error_m"), 2)
            lines.append([row["group"], str(row["n"]), *cells, position])
    return table(header, lines)


def _lead_car_table(lead: dict[str, Any]) -> str:
    header = ["size", "frames", "n", "azimuth within 30", "within 10", "median deg off 180",
              "median distance error m"]  # fmt: skip
    return table(header, [
        [size.replace("_", " "), part, str(row["frames"]), percent(row["azimuth_within_30"]),
         percent(row["azimuth_within_10"]), figure(row["median_azimuth_off_180_deg"]),
         figure(row["median_distance_error_m"], 2)]
        for size, parts in lead.items() for part, row in parts.items() if row["frames"]
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
