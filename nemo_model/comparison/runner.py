# SPDX-License-Identifier: Apache-2.0
"""Does what a plan lacks: trains, evaluates, and gathers the results that hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nemo_model.comparison import machine
from nemo_model.comparison.data import Part, at_hand, load_part
from nemo_model.comparison.plan import Column, Evaluation, Plan, key
from nemo_model.comparison.store import FORMAT, RECORD, Store, Trained, read_json
from nemo_model.errors import NemoError
from nemo_model.evaluation.evaluate import PoseEstimator, evaluate
from nemo_model.evaluation.summary import summarise
from nemo_model.systems import Run, model_folder, system


@dataclass
class Parts:
    """The parts of the test data, each loaded once."""

    plan: Plan
    store: Store
    _loaded: dict[tuple[str, Column], Part] = field(default_factory=dict)

    def get(self, category: str, column: Column) -> Part:
        if (category, column) not in self._loaded:
            found = load_part(self.plan.config, self.store, category, column)
            self._loaded[category, column] = found
        return self._loaded[category, column]


@dataclass
class Outcome:
    """What there is for a plan: trainings, results, and why some are missing."""

    trained: dict[Run, Trained] = field(default_factory=dict)
    results: dict[Evaluation, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def execute(
    plan: Plan, store: Store, *, workers: int = 1, threads: int = 1, only_gather: bool = False
) -> Outcome:
    """Train and evaluate what is missing or does not hold any more.

    A system that fails is written down in `problems` and the others go on. With `only_gather`
    nothing is done but to read what is there.
    """
    outcome, parts = Outcome(), Parts(plan, store)
    runs = plan.runs()
    bar = tqdm(runs, desc=f"table {plan.config.kind}", unit="run", dynamic_ncols=True)
    for run in bar:
        bar.set_postfix_str(key(run))
        with store.lock(key(run)) as mine:
            if not mine and not only_gather:
                outcome.problems.append(f"{key(run)}: another process is at it; run again later")
                continue
            try:
                _one(plan, run, store, parts, outcome, workers, threads, only_gather)
            except NemoError as error:
                outcome.problems.append(f"{key(run)}: {error}")
    return outcome


def _one(
    plan: Plan,
    run: Run,
    store: Store,
    parts: Parts,
    outcome: Outcome,
    workers: int,
    threads: int,
    only_gather: bool,
) -> None:
    trained = store.trained(run)
    if trained is None and only_gather:
        return
    if trained is None:
        trained = _train(run, store, workers, threads)
    outcome.trained[run] = trained
    missing: list[tuple[Evaluation, Part, dict[str, Any]]] = []
    for each in plan.of_run(run):
        if only_gather and not at_hand(plan.config, store, each.category, each.column):
            continue
        part = parts.get(each.category, each.column)
        wanted = asked(plan, each, part, trained)
        found = store.result(each, wanted)
        if found is None:
            missing.append((each, part, wanted))
        else:
            outcome.results[each] = found
    if only_gather:
        return
    for each, part, wanted, estimator in _with_estimators(missing, trained, threads):
        document = measure(estimator, part, each, threads)
        outcome.results[each] = store.write_result(each, wanted, document)


def _train(run: Run, store: Store, workers: int, threads: int) -> Trained:
    model = store.begin(run)
    began = time.perf_counter()
    folder = system(run.system).train(run, model, workers, threads)
    seconds = _recorded(folder) or time.perf_counter() - began
    return store.finish(run, folder, seconds, machine.facts(threads))


def _recorded(folder: Path) -> float:
    """Seconds of training that a system wrote down, over all resumptions and categories; or 0."""
    notes = [read_json(path) or {} for path in sorted(folder.rglob(RECORD))]
    return float(sum(note.get("seconds", 0.0) for note in notes))


def _with_estimators(
    missing: list[tuple[Evaluation, Part, dict[str, Any]]], trained: Trained, threads: int
) -> Iterator[tuple[Evaluation, Part, dict[str, Any], PoseEstimator]]:
    """Each missing evaluation with its category's model, loaded once."""
    for category, rows in groupby(missing, key=lambda row: row[0].category):
        own = list(rows)
        estimator = load_model(own[0][0].run, trained, category, threads)
        for each, part, wanted in own:
            yield each, part, wanted, estimator


def load_model(run: Run, trained: Trained, category: str, threads: int) -> PoseEstimator:
    """A trained system's estimator. Raises NemoError where it says to be of another category."""
    folder = model_folder(trained.folder, category)
    estimator = system(run.system).load(folder, threads)
    theirs = getattr(estimator, "category", category)
    if theirs != category:
        raise NemoError(f"{folder}: is a model of '{theirs}', not of '{category}'")
    return estimator


def asked(plan: Plan, each: Evaluation, part: Part, trained: Trained) -> dict[str, Any]:
    """All that decides a result: it holds as long as this is the same."""
    config = plan.config
    return {
        "format": FORMAT,
        "run": key(each.run),
        "model": trained.digest,
        "category": each.category,
        "source": config.source,
        "split": config.split,
        "level": each.column.level,
        "views": each.column.views,
        "protocol": each.protocol,
        "data": part.digest,
    }


def measure(estimator: PoseEstimator, part: Part, each: Evaluation, threads: int) -> dict[str, Any]:
    """Evaluate a part of the data under a protocol: figures, and each object's error."""
    name = f"{each.run.system} {part.category} {part.column.name} {each.protocol}"
    bar = tqdm(evaluate(estimator, part.samples, each.protocol), total=len(part.samples),
               desc=name, unit="object", dynamic_ncols=True, leave=False)  # fmt: skip
    began = time.perf_counter()
    document = summarise(list(bar))
    seconds = time.perf_counter() - began
    images = document.pop("images")
    return {
        **document,
        "skipped": part.skipped,
        "seconds_per_object": seconds / max(len(part.samples), 1),
        "machine": machine.facts(threads),
        "images": images,
    }
