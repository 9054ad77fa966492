# SPDX-License-Identifier: Apache-2.0
"""A family's accuracy per category, at occlusion levels L0 to L3, on a set that is held out.

    python benchmarks/categories.py --model models/household --family config/household.yaml \\
        --roots stanford=DIR synth=DIR --occluders PHOTOS --work work/categories
    python benchmarks/categories.py ... --set cycles --test DIR --source synth

measures the categories that model and file share, each on the split of its own data set, or all of
them on one --test set; --set names it in the report. The occluded copies and every evaluation are
kept in --work, so that a second run goes on. Writes categories.json, which keeps the sets of
earlier runs, and categories.md to --out. A pose that looks like the truth, by the object's symmetry
or else the one that the model's card tells, is right. --write-card puts the figures into the cards.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measured import LEVELS, Test, card_key, cell, errors_of, figures, measured, resampled

from nemo_model.bundle import read_card, write_card
from nemo_model.comparison.statistics import METRICS
from nemo_model.datasets.common import DatasetError
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation.evaluate import PROTOCOLS
from nemo_model.evaluation.report import figure, percent, table
from nemo_model.family import load_family
from nemo_model.training.families.config import Member, bound, read_family, root_of

RESULTS = Path(__file__).resolve().parent / "results"
ASKED = {0: 0.85, 1: 0.75, 2: 0.60, 3: 0.45}
"""Acc pi/6 that the mean over the categories is to reach."""
MEAN = "mean"


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    cv2.setNumThreads(args.threads)
    try:
        found = run(args)
        document = merged(args.out / "categories.json", args.set, found)
    except NemoError as error:
        print(f"categories: error: {error}", file=sys.stderr)
        return 2
    text = markdown(document)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "categories.json").write_text(
        json.dumps(document, indent=1, allow_nan=False) + "\n"
    )
    (args.out / "categories.md").write_text(text + "\n")
    if args.write_card:
        write_cards(args.model, args.set, found)
    print(text)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of the family")
    parser.add_argument("--family", type=Path, required=True, help="its YAML file")
    parser.add_argument("--roots", nargs="+", default=[], metavar="NAME=DIR")
    parser.add_argument("--test", type=Path, metavar="DIR",
                        help="one set for all categories, not the file's")  # fmt: skip
    parser.add_argument("--source", default="synth", help="of --test")
    parser.add_argument("--set", default="own", metavar="NAME", help="of the set, for the report")
    parser.add_argument("--split", default="val")
    parser.add_argument("--categories", nargs="+", help="only these")
    parser.add_argument("--levels", nargs="+", type=int, choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--occluders", type=Path, nargs="+", default=[], metavar="DIR",
                        help="photos that no training saw")  # fmt: skip
    parser.add_argument("--work", type=Path, required=True,
                        help="folder of occluded copies and evaluations")  # fmt: skip
    parser.add_argument("--limit", type=int, help="objects of each category")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--write-card", action="store_true", help="also into the models' cards")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one set."""
    estimators = {each.category: each for each in load_family(args.model, threads=args.threads)}
    family = [each for each in read_family(args.family).categories
              if each.category in estimators and each.category in (args.categories or estimators)
              ]  # fmt: skip
    if not family:
        raise NemoError(f"{args.family}: none of its categories is wanted and in {args.model}")
    roots = bound(args.roots)
    if args.test is None:
        for each in family:  # a name that is not bound is told before hours of work
            root_of(each, roots)
    document: dict[str, Any] = {
        "model": args.model.name, "split": args.split, "limit": args.limit, "seed": args.seed,
        "occluders": [path.name for path in args.occluders], "left_out": {}, "categories": {},
    }  # fmt: skip
    errors: dict[tuple[str, int], list[np.ndarray]] = {}
    for each in family:
        estimator = estimators[each.category]
        test = _test(args, each, roots)
        try:
            found = _category(args, estimator, test, errors)
        except DatasetError as error:
            if args.test is None:
                raise
            reason = str(error).replace(f"{args.test.parent}/", "").replace(f"{args.work}/", "")
            document["left_out"][each.category] = reason
            print(f"categories: {each.category} is left out: {error}", file=sys.stderr)
            continue
        document["categories"][each.category] = found
    if not document["categories"]:
        raise NemoError(f"{args.test}: has none of the categories, {document['left_out']}")
    document[MEAN] = {
        protocol: {f"L{level}": _mean(errors[protocol, level], args.seed) for level in args.levels}
        for protocol in args.protocols
    }
    return document


def _test(args: argparse.Namespace, each: Member, roots: dict[str, Path]) -> Test:
    common = {"occluded": args.work / "occluded", "occluders": tuple(args.occluders),
              "limit": args.limit, "seed": args.seed, "split": args.split}  # fmt: skip
    if args.test is not None:
        return Test(args.set, args.test, each.category, args.source, **common)
    return Test(args.set, root_of(each, roots), each.category, each.source, **common)


def _category(
    args: argparse.Namespace, estimator: Estimator, test: Test,
    errors: dict[tuple[str, int], list[np.ndarray]],
) -> dict[str, Any]:  # fmt: skip
    card = estimator.bundle.card
    found: dict[str, Any] = {
        "sha256": estimator.bundle.digest, "card": card_key(card), "source": test.source,
        "root": test.root.name, "symmetry": card.symmetry,
        "calibrated": card.calibration is not None,
    }  # fmt: skip
    rows = {
        protocol: {
            level: measured(estimator, test, level, protocol, args.work / "evaluations",
                            args.threads)
            for level in args.levels
        }
        for protocol in args.protocols
    }  # fmt: skip
    for protocol, levels in rows.items():  # only now: all of a category or nothing
        for level, row in levels.items():
            errors.setdefault((protocol, level), []).append(errors_of(row))
        found[protocol] = {f"L{k}": figures(row, args.seed) for k, row in levels.items()}
    return found


def _mean(errors: list[np.ndarray], seed: int) -> dict[str, Any]:
    """Figures of all categories, each counting the same, whatever its number of objects.

    The intervals are of objects drawn anew within each category.
    """
    boots = [resampled(own, f"{k}", seed + k) for k, own in enumerate(errors)]
    values = np.mean([boot.values for boot in boots], axis=0)
    samples = np.mean([boot.samples for boot in boots], axis=0)
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    row: dict[str, Any] = {"n": sum(len(own) for own in errors)}
    for k, metric in enumerate(METRICS):
        row[metric] = float(values[k])
        row[f"{metric}_interval"] = [float(low[k]), float(high[k])]
    return row


def write_cards(model: Path, name: str, found: dict[str, Any]) -> None:
    """Put a set's figures into the cards of the family's categories."""
    shared = {key: found[key] for key in ("split", "limit", "seed", "occluders")}
    for category, row in found["categories"].items():
        told = {"set": name, "root": row["root"], "source": row["source"], **shared,
                "command": "benchmarks/categories.py"}  # fmt: skip
        rows = {protocol: row[protocol] for protocol in PROTOCOLS if protocol in row}
        card = read_card(model / category)
        write_card(model / category, card.model_copy(update={"metrics": told | rows}))


def merged(path: Path, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """The report with this set beside those of earlier runs. Raises NemoError naming the file."""
    if not path.is_file():
        return {"sets": {name: found}}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return {"sets": before["sets"] | {name: found}}
    except (ValueError, KeyError, TypeError) as error:
        raise NemoError(
            f"{path}: is no report of this benchmark; move it away ({error})"
        ) from error


def markdown(document: dict[str, Any]) -> str:
    """The tables of all sets."""
    return "\n\n".join(_set(name, found) for name, found in document["sets"].items())


def _set(name: str, found: dict[str, Any]) -> str:
    categories, mean = found["categories"], found[MEAN]
    levels = list(next(iter(mean.values())))
    limit = "" if found["limit"] is None else f", at most {found['limit']} objects a category"
    hidden = ", ".join(found["occluders"]) or "none"
    parts = [
        f"## {name}\n\n{found['model']}, {found['split']}{limit}, occluders from {hidden}, seed "
        f"{found['seed']}; pi/6 with its 95 % interval / pi/18 in %, median in degrees:"
    ]
    for protocol, rows in mean.items():
        lines = [
            [each, str(row[protocol][levels[0]]["n"]), *(cell(row[protocol][k]) for k in levels)]
            for each, row in categories.items()
        ]
        lines.append([MEAN, str(rows[levels[0]]["n"]), *(cell(rows[k]) for k in levels)])
        if not found["split"].startswith("train"):  # nothing is asked of what was learned from
            lines.append(["asked", "", *(_asked(k, rows[k]["acc_pi_6"]) for k in levels)])
        parts += [f"Protocol {protocol}:", table(["category", "n", *levels], lines)]
    judged = next(p for p in ("robot", *mean) if p in mean)
    parts += [
        f"Turned by about 180 degrees in %, and the scores' AUROC / ECE for < 30 degrees, protocol "
        f"{judged}; ECE only where the model is calibrated:",
        table(
            ["category", *levels],
            [[each, *(_trust(row[judged][k], row["calibrated"]) for k in levels)]
             for each, row in categories.items()],
        ),
        "Models:",
        table(
            ["category", "test set", "symmetry", "sha256 of the weights"],
            [[each, f"{row['root']} ({row['source']})", str(row["symmetry"]), row["sha256"]]
             for each, row in categories.items()],
        ),
    ]  # fmt: skip
    parts += [f"Left out: {each} ({why})." for each, why in found["left_out"].items()]
    return "\n\n".join(parts)


def _asked(level: str, value: float) -> str:
    asked = ASKED[int(level[1:])]
    return f"{percent(asked)}: {'reached' if value >= asked else 'missed'}"


def _trust(row: dict[str, Any], calibrated: bool) -> str:
    ece = figure(row["ece"], 3) if calibrated else "-"
    return f"{percent(row['flip_rate'])}; {figure(row['auroc'], 3)} / {ece}"


if __name__ == "__main__":
    sys.exit(main())
