# SPDX-License-Identifier: Apache-2.0
"""From results to the cells of a table: figures with intervals, differences to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nemo_model.comparison.plan import Column, Evaluation, Plan, Row
from nemo_model.comparison.runner import Outcome
from nemo_model.comparison.statistics import METRICS, Bootstrap, Interval, bootstrap, difference

Floats = npt.NDArray[np.float64]
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
        found = gather(plan, outcome, protocol, group, column, row)
        if found is not None:
            stream = f"{row.system} {row.occluders}"
            boot = bootstrap(found.errors, found.strata, stream, plan.config.resamples)
            boots[row] = boot, found.seeds
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


@dataclass(frozen=True)
class Gathered:
    """A row's objects under a protocol: errors (S, N) and azimuths (N,), degrees; strata (N,), the
    number of the category; seeds (S,) of the trainings that are complete."""

    errors: Floats
    azimuths: Floats
    strata: npt.NDArray[np.int64]
    seeds: tuple[int, ...]


def gather(
    plan: Plan, outcome: Outcome, protocol: str, group: tuple[str, ...], column: Column, row: Row
) -> Gathered | None:
    """The errors of a group of categories; None where no training has all of them."""
    errors, seeds, results = [], [], []
    for seed in plan.config.seeds:
        run = plan.run(row, seed)
        found = [outcome.results.get(Evaluation(run, name, column, protocol)) for name in group]
        complete = [result for result in found if result is not None]
        if len(complete) == len(group):
            results = complete
            errors.append(_values(complete, "rotation_error_deg"))
            seeds.append(seed)
    if not errors:
        return None
    strata = np.repeat(np.arange(len(group)), [len(result["images"]) for result in results])
    azimuths = _values(results, "azimuth_deg")
    return Gathered(np.stack(errors), azimuths, strata, tuple(seeds))


def _values(results: Sequence[dict[str, Any]], field: str) -> Floats:
    return np.array([line[field] for result in results for line in result["images"]])
