# SPDX-License-Identifier: Apache-2.0
"""The solver's benchmarks on small models: what must be easy is, what must fail does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nemo_model.solver import SolverConfig, SolverModel
from nemo_model.synthetic import make_problem

NAMES = ("solver_common", "solver_basin", "solver_search", "solver_pairs", "bench", "solver")


@pytest.fixture(scope="module")
def scripts(repository: Path) -> dict[str, ModuleType]:
    folder = str(repository / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def model(scripts: dict[str, ModuleType]) -> SolverModel:
    config = SolverConfig(azimuths=12, patches=60, box_weight=0.001)
    return scripts["solver_common"].car_model(300, 16, config)


def test_the_basin_holds_the_truth_and_not_its_reverse(
    scripts: dict[str, ModuleType], model: SolverModel
) -> None:
    basin = scripts["solver_basin"]
    problems = [make_problem(model.table, model.clutter, k, noise=0.7) for k in range(4)]
    turned = basin.KINDS[0]
    assert basin.measure(model, problems, turned, 0.0, 1) == 1.0
    assert basin.measure(model, problems, turned, 180.0, 1) == 0.0


def test_a_dense_search_is_no_lower(scripts: dict[str, ModuleType], model: SolverModel) -> None:
    search = scripts["solver_search"]
    rows = search.compare(model, search.synthetic(model, 1, (24, 16)))
    assert [row["group"] for row in rows] == [f"{h} % hidden" for h in (0, 30, 50, 70)]
    figures = search.summarise(rows)
    assert figures["problems"] == 4
    assert figures["reference_right"] == figures["right"] == 100.0
    lost = [{**row, "reference_right": False, "found": False} for row in rows]
    assert search.summarise(lost)["found"] == 0.0
    assert search.summarise(lost)["found_where_reference_right"] is None


def test_pairs_count_what_a_change_gains_and_loses(
    scripts: dict[str, ModuleType], model: SolverModel
) -> None:
    problems = [make_problem(model.table, model.clutter, k, noise=0.7) for k in range(3)]
    data = {
        "features": np.array([p.features for p in problems]),
        "K": np.array([p.K_map for p in problems]),
        "box": np.array([p.box for p in problems]),
        "R": np.array([p.R for p in problems]),
        "reliable": np.ones((3, 4), dtype=bool),
    }
    lame = SolverModel(**{**vars(model), "config": SolverConfig(
        azimuths=12, patches=60, warm_adam_steps=0, warm_newton_steps=0, box_weight=0.001),
        "buffers": {}})  # fmt: skip
    table = scripts["solver_pairs"].compare(model, lame, data, np.arange(3))
    assert table["cold"]["gained"] == table["cold"]["lost"] == 0
    assert table["cold"]["shipped"]["acc_pi_18"] == 100.0
    far = table["warm, 25 to 35 deg off"]
    assert far["changed"]["acc_pi_18"] == 0.0  # it does not move at all
    assert far["lost"] >= 2
    assert far["gained"] == 0


def test_memory_counts_tables_and_buffers(
    scripts: dict[str, ModuleType], model: SolverModel
) -> None:
    found = scripts["bench"].memory(model, ("24x16", "40x30"))
    assert 0.0 < found["tables"] < found["process, peak"]
    assert found["buffers 24x16"] < found["buffers 40x30"]
