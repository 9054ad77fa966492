# SPDX-License-Identifier: Apache-2.0
"""What benchmarks of several models share: occluded copies, evaluations that are kept, intervals.

An evaluation is kept as JSON under a name made of all that decides it, so that a stopped benchmark
goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nemo_model.bundle import Card
from nemo_model.commands import evaluate, occlude
from nemo_model.comparison.statistics import METRICS, Bootstrap, bootstrap
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.occluded import list_path
from nemo_model.estimator import Estimator
from nemo_model.evaluation.report import figure, percent

LEVELS = (0, 1, 2, 3)
RESAMPLES = 2000
KEPT = ("objects", "failed", "acc_pi_6", "acc_pi_18", "median_error_deg", "flip_rate",
        "median_position_error_m", "confidence", "covariance", "street", "images")  # fmt: skip
"""What is kept of an evaluation."""


@dataclass(frozen=True)
class Test:
    """Labelled objects: a set in the PASCAL3D+ layout, or in KITTI's object format.

    occluded: folder of its occluded copies, made from `occluders` where they are missing.
    """

    __test__ = False  # no test of pytest's

    name: str
    root: Path
    category: str
    source: str = "stanford"
    split: str = "val"
    dataset: str = "pascal3d"
    occluded: Path | None = None
    occluders: tuple[Path, ...] = ()
    limit: int | None = None
    seed: int = 0

    def copy(self, level: int) -> Path:
        """The folder of this set's copies; that of a level is made if it is not there.

        Raises DatasetError where it cannot be made.
        """
        if self.occluded is None:
            raise DatasetError(f"{self.name}: no folder for occluded copies")
        many = "all" if self.limit is None else str(self.limit)
        out = self.occluded / f"{self.name}-{self.split}-{many}-{self.seed}"
        if not list_path(out, self.category, level).is_file():
            if not self.occluders:
                raise DatasetError(f"{out}: no occluded copy at level {level}; give --occluders")
            words = ["--root", self.root, "--source", self.source, "--split", self.split,
                     "--category", self.category, "--occluders", *self.occluders,
                     "--level", level, "--out", out, "--seed", self.seed]  # fmt: skip
            if self.limit is not None:
                words += ["--limit", self.limit]
            occlude.run(_parsed(occlude, words))
        return out

    def words(self, level: int) -> list[Any]:
        """The options of `nemo evaluate` that name these objects."""
        words: list[Any] = ["--dataset", self.dataset, "--root", self.root,
                            "--category", self.category, "--seed", self.seed]  # fmt: skip
        if self.dataset == "pascal3d":
            words += ["--source", self.source, "--split", self.split]
        if level:
            words += ["--occluded-root", self.copy(level), "--level", level]
        if self.limit is not None:
            words += ["--limit", self.limit]
        return words


def _parsed(command: Any, words: Sequence[Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def card_key(card: Card) -> str:
    """sha256 of all that a card says but its figures: weights, calibration, symmetry, ..."""
    return hashlib.sha256(card.model_copy(update={"metrics": {}}).model_dump_json().encode()
                          ).hexdigest()  # fmt: skip


def measured(
    estimator: Estimator, test: Test, level: int, protocol: str, kept: Path, threads: int = 1
) -> dict[str, Any]:
    """Evaluate a model on a level of a test set, unless that was done before.

    Args:
        kept: folder of the evaluations.

    Returns:
        the fields KEPT of `nemo evaluate`'s document that it has.

    Raises:
        DatasetError: when the data are missing or damaged.
    """
    card = estimator.bundle.card
    told = asdict(test) | {
        "root": test.root.name, "occluded": "", "occluders": [p.name for p in test.occluders],
        "level": level, "protocol": protocol, "card": card_key(card),
    }  # fmt: skip
    text = json.dumps(told, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    path = kept / f"{test.name}-{test.category}-L{level}-{protocol}-{key[:12]}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    words = ["--model", estimator.bundle.folder, "--protocol", protocol, "--threads", threads,
             *test.words(level)]  # fmt: skip
    wanted = _parsed(evaluate, words)
    document = evaluate.measure(wanted, estimator, evaluate.load(wanted)[0])
    found = {name: document[name] for name in KEPT if name in document} | {"of": told}
    partial = path.with_suffix(".partial")
    evaluate.write_json(partial, found)
    partial.replace(path)
    return found


def errors_of(document: dict[str, Any]) -> np.ndarray:
    """Rotation errors (N,) of an evaluation's objects, degrees."""
    return np.array([each["rotation_error_deg"] for each in document["images"]])


def resampled(errors: np.ndarray, stream: str = "", seed: int = 0) -> Bootstrap:
    """Bootstrap the errors (N,) of one training."""
    return bootstrap(errors, np.zeros(len(errors), dtype=int), stream, RESAMPLES, seed)


def figures(document: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Acc pi/6, pi/18 and the median of an evaluation with 95 % intervals, and what scores are
    worth."""
    boot = resampled(errors_of(document), seed=seed)
    row: dict[str, Any] = {"n": document["objects"], "failed": document["failed"]}
    for metric in METRICS:
        found = boot.interval(metric)
        row[metric] = found.value
        row[f"{metric}_interval"] = [found.low, found.high]
    score = document["confidence"]
    return row | {"flip_rate": document["flip_rate"], "auroc": score["auroc"], "ece": score["ece"]}


def cell(row: dict[str, Any]) -> str:
    """pi/6 with its interval / pi/18 / median, for a table."""
    low, high = row["acc_pi_6_interval"]
    return (
        f"{percent(row['acc_pi_6'])} ({100 * low:.0f}-{100 * high:.0f}) / "
        f"{percent(row['acc_pi_18'])} / {figure(row['median_deg'])}"
    )
