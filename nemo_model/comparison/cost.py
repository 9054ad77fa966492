# SPDX-License-Identifier: Apache-2.0
"""What a command would still do, and about how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nemo_model.comparison.data import at_hand
from nemo_model.comparison.plan import Plan, key
from nemo_model.comparison.runner import Parts, asked
from nemo_model.comparison.store import Store, read_json
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.evaluation.report import table

TRAIN_SECONDS = 0.045
"""Per sample on one CPU core at the default crop, where nothing was trained yet in this folder."""
OBJECT_SECONDS = 0.02
"""Per object and evaluation on one core, where nothing was evaluated yet in this folder."""
OCCLUDE_SECONDS = 0.03
"""Per object and level."""


def describe(plan: Plan, store: Store) -> str:
    """The plan as text: trainings and evaluations to do, those that are done, seconds of each."""
    per_sample, measured = _per_sample(store)
    per_object = _per_object(store)
    config = plan.config
    objects = {
        (category, views): _count(plan, category, views)
        for category in config.categories
        for views in {column.views for column in plan.columns}
    }
    rows, total = [], 0.0
    parts = Parts(plan, store)
    for run in plan.runs():
        trained = store.trained(run)
        samples = run.steps * run.batch * len(run.categories)
        rate = per_sample.get(run.system, measured)
        train = 0.0 if trained else rate * samples
        todo = seconds = 0.0
        for each in plan.of_run(run):
            done = False
            if trained and at_hand(config, store, each.category, each.column):
                part = parts.get(each.category, each.column)
                done = store.result(each, asked(plan, each, part, trained)) is not None
            if not done:
                todo += 1
                seconds += per_object * objects[each.category, each.column.views]
        rows.append((key(run), "done" if trained else _time(train), f"{todo:.0f}", _time(seconds)))
        total += train + seconds
    copies = [
        (category, column)
        for category in config.categories
        for column in plan.columns
        if not at_hand(config, store, category, column)
    ]
    making = sum(OCCLUDE_SECONDS * objects[category, "all"] for category, _ in copies)
    total += making
    source = "as measured in this folder" if per_sample else "a guess: one CPU core"
    return "\n\n".join([
        table(("run", "training", "evaluations to do", "their time"), rows),
        f"Occluded copies to make: {len(copies)} ({_time(making)}).",
        f"In all about {_time(total)}; {1e3 * measured:.0f} ms per training sample, {source}; "
        f"{1e3 * per_object:.0f} ms per object evaluated.",
    ])  # fmt: skip


def _count(plan: Plan, category: str, views: str) -> int:
    config = plan.config
    count = len(Pascal3D(config.root, category, config.source, config.split, views))
    return count if config.limit is None else min(count, config.limit)


def _per_sample(store: Store) -> tuple[dict[str, float], float]:
    """Seconds per training sample by system, and for the others."""
    found: dict[str, list[float]] = {}
    for path in _files(store.out / "runs", "*/trained.json"):
        note = read_json(path) or {}
        run, seconds = note.get("run", {}), float(note.get("seconds", 0.0))
        samples = run.get("steps", 0) * run.get("batch", 0) * len(run.get("categories", ()))
        if samples and seconds:
            found.setdefault(run["system"], []).append(seconds / samples)
    means = {name: sum(values) / len(values) for name, values in found.items()}
    return means, sum(means.values()) / len(means) if means else TRAIN_SECONDS


def _per_object(store: Store) -> float:
    """Seconds per evaluated object, reading included, from results; else a guess."""
    times = []
    for path in _files(store.out / "evaluations", "*/*.json")[:200]:
        seconds = (read_json(path) or {}).get("seconds_per_object")
        if seconds:
            times.append(float(seconds))
    return sum(times) / len(times) if times else OBJECT_SECONDS


def _files(folder: Path, pattern: str) -> Sequence[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
