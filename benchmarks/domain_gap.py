# SPDX-License-Identifier: Apache-2.0
"""What cars learned from renderings are worth on real photos, and what closes the gap.

    python benchmarks/domain_gap.py --real stanford_cars3d --synth household \\
        --backgrounds backgrounds --occluders photos_without_pose --kitti kitti_cars \\
        --work work/gap --rows real,rendered

Every row is a training of the same number of steps (see domain_rows.py; one that goes on from
another says so), with the settings of config/stanford.yaml, tested on the photos of --real that no
training sees and on streets. Trainings and evaluations are kept in --work, so that a second run
goes on; --rows chooses some, and the report (domain_gap.json, domain_gap.md in --out) keeps the
others. Without --plain there is no row plain.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from domain_rows import CATEGORY, PICTURES, ROWS, STYLE, Plan
from measured import Test, cell, errors_of, figures, measured, resampled

from nemo_model.bundle import Card
from nemo_model.comparison.config import read_values
from nemo_model.comparison.statistics import difference
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation.report import table

HERE = Path(__file__).resolve().parent
LEVELS = (0, 2)
PROTOCOLS = ("paper", "robot")


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    cv2.setNumThreads(args.threads)
    try:
        document = run(args)
    except NemoError as error:
        print(f"domain_gap: error: {error}", file=sys.stderr)
        return 2
    print(markdown(document))
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="photos, PASCAL3D+ layout")
    parser.add_argument("--synth", type=Path, required=True, help="rendered set with cars")
    parser.add_argument("--plain", type=Path, help="one rendered without recolouring and photos")
    parser.add_argument("--backgrounds", type=Path, required=True, help="photos, for training")
    parser.add_argument("--occluders", type=Path, nargs="+", default=[], help="photos, for tests")
    parser.add_argument("--kitti", type=Path, help="street scenes in KITTI's object format")
    parser.add_argument("--work", type=Path, required=True, help="folder of trainings and figures")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--rows", default="", metavar="A,B", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--config", type=Path, default=HERE.parent / "config" / "stanford.yaml")
    parser.add_argument("--steps", type=int, help="default: the config's")
    parser.add_argument("--few", type=int, default=50, help="labelled photos of the rows few*")
    parser.add_argument("--few-steps", type=int, default=100, help="of tuning on them")
    parser.add_argument("--limit", type=int, help="photos per level; default: the config's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON",
                        help="fields of TrainConfig, after the config's")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and measure the rows; the report is written after each."""
    values = read_values(args.config)
    plan = Plan(
        args.real, args.synth, args.backgrounds, args.work,
        (*values.get("settings", ()), *args.set), args.plain, args.steps or values["steps"],
        values["batch"], args.seed, args.few, args.few_steps, values["train_split"],
        args.workers, args.threads,
    )  # fmt: skip
    limit = values.get("limit") if args.limit is None else args.limit
    tests = [(Test(args.real.name, args.real, CATEGORY, "stanford", values["split"],
                   occluded=args.work / "occluded", occluders=tuple(args.occluders), limit=limit),
              LEVELS if args.occluders else LEVELS[:1], PROTOCOLS)]  # fmt: skip
    if args.kitti is not None:
        street = Test(args.kitti.name, args.kitti, CATEGORY, dataset="kitti")
        tests.append((street, (0,), ("robot",)))
    document = _started(args.out / "domain_gap.json", {
        "steps": plan.steps, "batch": plan.batch, "seed": plan.seed, "settings": plan.settings,
        "few": plan.few, "few_steps": plan.few_steps, "style": STYLE, "pictures": PICTURES,
        "split": values["split"], "limit": limit, "real": args.real.name,
        "synth": args.synth.name, "occluders": [path.name for path in args.occluders],
    })  # fmt: skip
    for row in chosen(args.rows, args.plain is not None):
        estimator = Estimator.load(bundle(plan, row), threads=args.threads)
        found = {
            f"{test.name} L{level} {protocol}": measured(
                estimator, test, level, protocol, args.work / "evaluations", args.threads
            )
            for test, levels, protocols in tests
            for level in levels
            for protocol in protocols
        }
        document["rows"][row] = {
            "text": ROWS[row][0],
            "sha256": estimator.bundle.digest,
            "columns": {name: _figures(one) for name, one in found.items()},
            "errors_deg": {
                name: " ".join(f"{e:.2f}" for e in errors_of(one)) for name, one in found.items()
            },
        }
        document["rows"] = {name: document["rows"][name] for name in ROWS
                            if name in document["rows"]}  # fmt: skip
        args.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=1, allow_nan=False)
        (args.out / "domain_gap.json").write_text(text + "\n")
        (args.out / "domain_gap.md").write_text(markdown(document) + "\n")
    return document


def chosen(rows: str, with_plain: bool) -> list[str]:
    """The rows of --rows in their order; by default all that there are data for."""
    if not rows:
        return [row for row in ROWS if with_plain or row != "plain"]
    wanted = rows.split(",")
    unknown = [row for row in wanted if row not in ROWS]
    if unknown:
        raise NemoError(f"--rows {unknown[0]}: is not known; there are {', '.join(ROWS)}")
    return [row for row in ROWS if row in wanted]


def _started(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The report so far, where it is of the same settings."""
    settings = json.loads(json.dumps(settings))
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise NemoError(f"{path}: is no JSON; move it away ({error})") from error
        if before.get("settings") == settings:
            return {"settings": settings, "rows": before["rows"]}
        print(f"domain_gap: {path.name} was of other settings and is begun anew", file=sys.stderr)
    return {"settings": settings, "rows": {}}


def bundle(plan: Plan, row: str) -> Path:
    """The folder of a row's model; trained and exported unless that was done before."""
    checkpoint = ROWS[row][1](plan)
    folder = checkpoint.parent / "model"
    if (folder / "card.json").is_file():
        return folder
    from nemo_model.training.checkpoint import Checkpoint
    from nemo_model.training.export import export
    from nemo_model.training.runs import size_prior

    found = Checkpoint.load(checkpoint)
    config = found.config
    settings = config.model_dump() | {"steps_done": found.step, "left_out": len(config.left_out)}
    card = Card(
        name=f"gap-{row}", category=CATEGORY, width=config.width, height=config.height,
        features=config.features, size=size_prior(CATEGORY, found.mesh),
        data=ROWS[row][0], split=config.split, seed=config.seed,
        command=f"benchmarks/domain_gap.py --rows {row}", licence="for this comparison only",
        mirror=config.augment.flip > 0, training=settings, sha256={},
    )  # fmt: skip
    export(found, card, folder)
    return folder


def _figures(document: dict[str, Any]) -> dict[str, Any]:
    """Of streets: cars at least 40 px high, uncut, at most partly hidden."""
    if "street" not in document:
        return figures(document)
    row = document["street"]["headline"]
    return row | {"median_deg": row["median_error_deg"]}


def markdown(document: dict[str, Any]) -> str:
    """The tables."""
    rows, told = document["rows"], document["settings"]
    columns = list(next(iter(rows.values()))["columns"])
    counts = {name: next(iter(rows.values()))["columns"][name]["n"] for name in columns}
    lines = [
        [f"{row}: {found['text']}", *(cell(found["columns"][name]) if name in found["columns"]
                                      else "-" for name in columns)]
        for row, found in rows.items()
    ]  # fmt: skip
    parts = [
        f"Tested on {told['real']} {told['split']}; trained for {told['steps']} steps of "
        f"{told['batch']} from ImageNet weights, seed {told['seed']}; few: {told['few']} photos, "
        f"{told['few_steps']} more steps; styles in {100 * told['style']:g} % of the samples; "
        f"statistics of {told['pictures']} pictures. pi/6 with its 95 % interval / pi/18 in %, "
        "median in degrees; streets: cars from 40 px, uncut, at most partly hidden.",
        table(["trained on", *(f"{name} (n = {counts[name]})" for name in columns)], lines),
    ]
    gaps = _gaps(rows, [name for name in columns if name.startswith(told["real"])])
    if gaps:
        parts += ["pi/6 against the row rendered, points with the paired 95 % interval, and the "
                  "share of its distance to real that is made good:", gaps]  # fmt: skip
    return "\n\n".join(parts)


def _gaps(rows: dict[str, Any], columns: list[str]) -> str:
    if "rendered" not in rows or len(rows) < 2:
        return ""
    lines = []
    for row in rows:
        if row == "rendered":
            continue
        cells = []
        for name in columns:
            ours, base, real = (_errors(rows, each, name) for each in (row, "rendered", "real"))
            if ours is None or base is None or len(ours) != len(base):
                cells.append("-")
                continue
            gap = difference(resampled(ours, row), resampled(base), "acc_pi_6")
            text = f"{100 * gap.value:+.1f} ({100 * gap.low:.1f} to {100 * gap.high:.1f})"
            if real is not None and row != "real":
                whole = float(np.mean(real < 30.0) - np.mean(base < 30.0))
                text += f", {100 * gap.value / whole:.0f} %" if whole > 0.0 else ""
            cells.append(text)
        lines.append([row, *cells])
    return table(["row", *columns], lines)


def _errors(rows: dict[str, Any], row: str, column: str) -> np.ndarray | None:
    """The errors (N,) of a row's objects; a line of text in the report, which stays short so."""
    found = rows.get(row, {}).get("errors_deg", {}).get(column)
    return None if found is None else np.array(found.split(), dtype=np.float64)


if __name__ == "__main__":
    sys.exit(main())
