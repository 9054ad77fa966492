# SPDX-License-Identifier: Apache-2.0
"""Accuracy without the photos of one car model, and on these alone, from `nemo evaluate --json`.

    nemo evaluate --model models/car --dataset pascal3d --root stanford_cars3d --source stanford \\
        --split val --category car --json result.json
    python benchmarks/without_class.py result.json --classes stanford_cars3d/classes.csv \\
        --without Beetle

For a model that was trained on something much like them. Classes are those of a CSV with the
columns name and class; all whose class contains the word are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

LIMITS_DEG = (30.0, 10.0)


def accuracies(images: Sequence[Mapping[str, Any]]) -> str:
    """Shares in % of rotation errors below 30 and 10 degrees; no answer counts as wrong."""
    if not images:
        return "none"
    errors = [one["rotation_error_deg"] for one in images]
    shares = [
        100.0 * sum(error is not None and error < limit for error in errors) / len(errors)
        for limit in LIMITS_DEG
    ]
    return f"{' / '.join(f'{share:.1f}' for share in shares)} (n = {len(images)})"


def parted(images: Sequence[Mapping[str, Any]], named: Collection[str]) -> tuple[str, str]:
    """The accuracies of all but the named images, and of these."""
    rest = [one for one in images if one["name"] not in named]
    return accuracies(rest), accuracies([one for one in images if one["name"] in named])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="+", help="JSON of nemo evaluate")
    parser.add_argument("--classes", type=Path, required=True, help="CSV: name, class")
    parser.add_argument("--without", required=True, help="word in the class")
    args = parser.parse_args(argv)
    with args.classes.open(encoding="utf-8", newline="") as file:
        named = {row["name"] for row in csv.DictReader(file) if args.without in row["class"]}
    for path in args.results:
        rest, alone = parted(json.loads(path.read_text(encoding="utf-8"))["images"], named)
        print(f"{path.name}: without {rest}, alone {alone}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
