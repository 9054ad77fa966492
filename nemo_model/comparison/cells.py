# SPDX-License-Identifier: Apache-2.0
"""From results to the cells of a table: figures with intervals, differences to the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nemo_model.comparison.plan import Column, Evaluation, Plan, Row
from nemo_model.comparison.runner import Outcome
from nemo_model.comparison.statistics import METRICS, Bootstrap, Interval, bootstrap, difference

Results = list[dict[str, Any]]
ALL = "all"
"""The name of the categories' mean, weighted by their objects."""


@dataclass(frozen=True)
class Cell:
    """A system in a column under a protocol.

    category: one, or ALL. figures, gaps, gains: by metric. gaps are differences to the reference
    that was trained with the same augmentation, empty for itself and where it is missing; gains are
    differences to the same system trained without occluders, empty where there is none.
    """

    protocol: str
    row: Row
    column: Column
    category: str
    objects: int
    seeds: tuple[int, ...]
    figures: dict[str, Interval]
    gaps: dict[str, Interval]
    gains: dict[str, Interval]


def make_cells(plan: Plan, outcome: Outcome) -> list[Cell]:
    """All cells for which every category has a result; each category by itself as well."""
    names = plan.config.categories
    groups = [names] if len(names) == 1 else [names, *((name,) for name in names)]
    found = []
    for protocol in plan.config.protocols:
        for group in groups:
            for column in plan.columns:
                found += _column(plan, outcome, protocol, group, column)
    return found


def _column(
    plan: Plan, outcome: Outcome, protocol: str, group: tuple[str, ...], column: Column
) -> list[Cell]:
    boots: dict[Row, tuple[Bootstrap, tuple[int, ...]]] = {}
    for row in plan.rows:
        found = _bootstrap(plan, outcome, protocol, group, column, row)
        if found is not None:
            boots[row] = found
    cells = []
    for row, (boot, seeds) in boots.items():
        other = boots.get(Row(plan.reference, row.occluders))
        plain = boots.get(Row(row.system, False)) if row.occluders else None
        cells.append(
            Cell(
                protocol,
                row,
                column,
                group[0] if len(group) == 1 else ALL,
                boot.objects,
                seeds,
                {metric: boot.interval(metric) for metric in METRICS},
                {} if row.system == plan.reference else _differences(boot, other),
                _differences(boot, plain),
            )
        )
    return cells


def _differences(
    boot: Bootstrap, other: tuple[Bootstrap, tuple[int, ...]] | None
) -> dict[str, Interval]:
    return {} if other is None else {m: difference(boot, other[0], m) for m in METRICS}


def _bootstrap(
    plan: Plan,
    outcome: Outcome,
    protocol: str,
    group: tuple[str, ...],
    column: Column,
    row: Row,
) -> tuple[Bootstrap, tuple[int, ...]] | None:
    """The resampled figures of the seeds that are complete; None where there is none."""
    rows, seeds, strata = [], [], np.zeros(0)
    for seed in plan.config.seeds:
        run = plan.run(row, seed)
        results = [outcome.results.get(Evaluation(run, name, column, protocol)) for name in group]
        if all(results):
            complete = [result for result in results if result is not None]
            rows.append(errors(complete))
            strata = np.repeat(np.arange(len(group)), [len(r["images"]) for r in complete])
            seeds.append(seed)
    if not rows:
        return None
    stream = f"{row.system} {row.occluders}"
    boot = bootstrap(np.stack(rows), strata, stream, plan.config.resamples)
    return boot, tuple(seeds)


def errors(results: Results) -> np.ndarray:
    """Rotation errors (N,), degrees, of one training in the order of its objects."""
    return np.array([line["rotation_error_deg"] for result in results for line in result["images"]])


def azimuths(results: Results) -> np.ndarray:
    """True azimuths (N,), degrees, in the same order."""
    return np.array([line["azimuth_deg"] for result in results for line in result["images"]])


def pooled(
    plan: Plan, outcome: Outcome, protocol: str, column: Column, row: Row
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and azimuths of all seeds and categories that there are, one after another."""
    results = [
        found
        for seed in plan.config.seeds
        for name in plan.config.categories
        if (found := outcome.results.get(Evaluation(plan.run(row, seed), name, column, protocol)))
    ]
    return errors(results), azimuths(results)
