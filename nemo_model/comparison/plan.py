# SPDX-License-Identifier: Apache-2.0
"""What a table needs: its rows and columns, the trainings and evaluations behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nemo_model.comparison.config import TableConfig
from nemo_model.systems import Run, system


@dataclass(frozen=True)
class Row:
    """A system, trained with pasted occluders or without."""

    system: str
    occluders: bool

    @property
    def title(self) -> str:
        return system(self.system).title


@dataclass(frozen=True)
class Column:
    """A part of the test data. level 0: the photos as they are."""

    name: str
    level: int
    views: str = "all"


@dataclass(frozen=True)
class Evaluation:
    """One trained system on one category's part of the test data."""

    run: Run
    category: str
    column: Column
    protocol: str


SAME_FOR_ONE = {"res50-general": "res50-specific"}
"""Systems that are another one where there is one category: trained and evaluated once."""
NEED_KEYPOINTS = ("starmap",)
"""To the others a file of keypoints makes no difference: they are not trained anew for one."""


@dataclass(frozen=True)
class Plan:
    """Rows and columns of a table; what is behind each cell."""

    config: TableConfig
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]

    @property
    def reference(self) -> str:
        """The system that the others are compared with: the config's, or the first row's."""
        names = [row.system for row in self.rows]
        return self.config.reference if self.config.reference in names else names[0]

    def run(self, row: Row, seed: int) -> Run:
        """The training behind a row's cells."""
        config = self.config
        name = row.system
        if len(config.categories) == 1:
            name = SAME_FOR_ONE.get(name, name)
        return Run(
            system=name,
            root=config.root,
            backgrounds=config.backgrounds,
            categories=config.categories,
            source=config.source,
            split=config.train_split,
            views="seen" if config.kind == "unseen" else "all",
            occluders=row.occluders,
            seed=seed,
            steps=config.steps,
            batch=config.batch,
            backbone=config.backbone,
            keypoints=config.keypoints if name in NEED_KEYPOINTS else None,
            settings=config.settings,
        )

    def runs(self) -> list[Run]:
        """All trainings, each once, seed by seed: an interrupted command leaves whole tables."""
        runs = [self.run(row, seed) for seed in self.config.seeds for row in self.rows]
        return list(dict.fromkeys(runs))

    def of_run(self, run: Run) -> Iterator[Evaluation]:
        """The evaluations of one training."""
        for category in self.config.categories:
            for column in self.columns:
                for protocol in self.config.protocols:
                    yield Evaluation(run, category, column, protocol)

    def evaluations(self) -> list[Evaluation]:
        return [each for run in self.runs() for each in self.of_run(run)]


def make_plan(config: TableConfig) -> Plan:
    """The plan of a config. Raises NemoError on an unknown system."""
    for name in config.systems:
        system(name)
    flags = {"with": (True,), "without": (False,), "both": (True, False)}[config.augment]
    rows = tuple(Row(name, flag) for flag in flags for name in config.systems)
    if config.kind == "unseen":
        columns = tuple(Column(views, 0, views) for views in ("seen", "unseen"))
    else:
        columns = tuple(Column(f"L{level}", level) for level in config.levels)
    return Plan(config, rows, columns)


def plain(run: Run) -> dict[str, Any]:
    """A run as JSON: paths made absolute, fields at an unset default (None, ()) left out.

    So a later field of Run does not rename the folders of the runs that do without it.
    """
    found: dict[str, Any] = {}
    for field, value in zip(fields(run), asdict(run).values(), strict=True):
        if value is None or value == ():
            continue
        if isinstance(value, Path):
            value = str(value.resolve())
        found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def digest(value: Any) -> str:
    """SHA-256 of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def key(run: Run) -> str:
    """The name of a run's folder: readable, and another one for every field that is changed."""
    many = len(run.categories) > 1
    what = f"{len(run.categories)}cat" if many else run.categories[0]
    flag = "occ" if run.occluders else "plain"
    return (
        f"{run.system}-{what}-{run.views}-{flag}-{run.steps}x{run.batch}-s{run.seed}-"
        f"{digest(plain(run))[:8]}"
    )
