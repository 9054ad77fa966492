# SPDX-License-Identifier: Apache-2.0
"""How often the global search finds the best pose there is, against a far denser search.

    python benchmarks/solver_search.py --json search.json
    python benchmarks/solver_search.py --maps maps.npz --json search.json   # photos: solver_maps.py

The reference climbs from 60 starts of a grid four times as fine, longer, and from the true pose as
well. What is compared is what both maximise, the energy with the box term, at the best climb's end
(before climbs that end together are averaged). A search is right where it comes within 1 % of the
reference's best ("found"); "| ref" counts only problems where the reference's best pose is within
30 degrees of the truth: elsewhere the features are wrong, not the search. "second": the second
mode is within 5 % (of the best) of the reference's second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from solver_common import about, car_model

from nemo_model.boxfit import pull
from nemo_model.bundle import Bundle
from nemo_model.patches import make_patches
from nemo_model.pose import geodesic
from nemo_model.search import rotation_grid
from nemo_model.solver import Solution, SolverConfig, SolverModel, solve_cold, solve_warm
from nemo_model.solver_input import hints_of
from nemo_model.synthetic import Problem, make_problem

HIDDEN = (0.0, 0.3, 0.5, 0.7)
SLACK = 0.01
DENSE: dict[str, Any] = {
    "azimuths": 48,
    "elevations_deg": (-15.0, -5.0, 5.0, 15.0, 25.0, 35.0, 45.0, 55.0),
    "in_plane_deg": (-20.0, -10.0, 0.0, 10.0, 20.0),
    "patches": 300,
    "starts": 60,
    "apart_deg": 10.0,
    "finalists": 20,
    "final_adam_steps": 30,
    "final_newton_steps": 15,
    "warm_adam_steps": 30,
    "warm_newton_steps": 15,
    "blend": 0.0,
}


@dataclass(frozen=True)
class Case:
    """A problem, the sides of its box that count, and the group it is reported in."""

    problem: Problem
    reliable: tuple[bool, bool, bool, bool]
    group: str


def synthetic(model: SolverModel, count: int, size: tuple[int, int]) -> list[Case]:
    """Problems by share hidden."""
    width, height = size
    return [
        Case(
            make_problem(model.table, model.clutter, 1000 + seed, width, height, hidden=hidden),
            (True,) * 4,
            f"{100 * hidden:.0f} % hidden",
        )
        for hidden in HIDDEN
        for seed in range(count)
    ]


def photographed(path: Path) -> list[Case]:
    """Problems of real photos, kept by solver_maps.py."""
    data = dict(np.load(path))  # read once: an npz file is read anew at each access
    return [
        Case(
            Problem(data["features"][k], data["K"][k], data["box"][k], data["R"][k], data["t"][k]),
            tuple(bool(flag) for flag in data["reliable"][k]),
            f"L{data['level'][k]}",
        )
        for k in range(len(data["R"]))
    ]


def total(model: SolverModel, case: Case, found: Solution) -> float:
    """Return what the solver maximises: the energy and the box term."""
    problem = case.problem
    box = hints_of(model, problem.box, problem.K_map, case.reliable, off=False)
    none, empty = np.zeros(6), np.zeros((6, 6))
    focal = problem.K_map[0, 0], problem.K_map[1, 1]
    term = pull(box.outline, found.R, found.t, box.rays, *focal, box.weights, box.sigmas,
                box.scale, 0, none, empty)  # fmt: skip
    return found.energy + float(term)


def compare(model: SolverModel, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Solve every case both ways."""
    highest = _with(model, replace(model.config, blend=0.0))
    dense = _with(model, replace(model.config, **DENSE))
    rows = []
    for case in cases:
        where = (case.problem.features, case.problem.K_map)
        box = (case.problem.box, None, case.reliable)
        found, reference = solve_cold(highest, *where, *box), solve_cold(dense, *where, *box)
        second = total(model, case, reference) - reference.margin
        true = solve_warm(dense, *where, case.problem.R, case.problem.t, *box)
        if total(model, case, true) > total(model, case, reference):
            reference = true
        best, ours = total(model, case, reference), total(model, case, found)
        slack = SLACK * abs(best)
        rows.append({
            "group": case.group,
            "found": ours >= best - slack,
            "same_mode": geodesic(found.R, reference.R) < np.radians(15.0),
            "second_found": ours - found.margin >= second - 5.0 * slack,
            "reference_right": _right(reference, case),
            "right": _right(solve_cold(model, *where, *box), case),
        })  # fmt: skip
    return rows


def _right(found: Solution, case: Case) -> bool:
    return bool(geodesic(found.R, case.problem.R) < np.radians(30.0))


def _with(model: SolverModel, config: SolverConfig) -> SolverModel:
    """Return the model with another search and other schedules."""
    rotations, views = rotation_grid(config.azimuths, config.elevations_deg, config.in_plane_deg)
    level = rotations[:: len(config.in_plane_deg)]
    patches = make_patches(model.table, config.patches, level)
    return replace(
        model, config=config, rotations=rotations, views=views, patches=patches, buffers={}
    )


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares in percent, over all cases and over those where the reference is right."""
    good = [row for row in rows if row["reference_right"]]

    def share(which: Sequence[dict[str, Any]], key: str) -> float | None:
        return round(100.0 * float(np.mean([row[key] for row in which])), 1) if which else None

    return {
        "problems": len(rows),
        "reference_right": share(rows, "reference_right"),
        "right": share(rows, "right"),
        "found": share(rows, "found"),
        "found_where_reference_right": share(good, "found"),
        "same_mode_where_reference_right": share(good, "same_mode"),
        "second_found": share(rows, "second_found"),
    }


COLUMNS = {
    "problems": "problems", "reference_right": "ref < 30", "right": "ours < 30", "found": "found",
    "found_where_reference_right": "found | ref", "same_mode_where_reference_right": "same | ref",
    "second_found": "second",
}  # fmt: skip


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--maps", type=Path, help="feature maps of photos (solver_maps.py)")
    parser.add_argument("--model", type=Path, default=Path("models/car"), help="of --maps")
    parser.add_argument("--every", type=int, default=1, help="take every so many of --maps")
    parser.add_argument("--size", default="28x28", help="of the synthetic maps")
    parser.add_argument("--problems", type=int, default=50, help="synthetic, per share hidden")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    args = parser.parse_args()
    if args.maps:
        bundle = Bundle.load(args.model)
        model = SolverModel.build(bundle.mesh, bundle.features, bundle.clutter, bundle.outline)
        name, cases = "photos", photographed(args.maps)[:: args.every]
    else:
        model = car_model(1000, 64)
        width, height = (int(part) for part in args.size.split("x"))
        name, cases = "synthetic", synthetic(model, args.problems, (width, height))
    rows = compare(model, cases)
    groups = list(dict.fromkeys(row["group"] for row in rows))
    table = {g: summarise([row for row in rows if row["group"] == g]) for g in groups}
    table["all"] = summarise(rows)
    print(f"{name:<12}" + "".join(f"{title:>12}" for title in COLUMNS.values()))
    for group, figures in table.items():
        print(f"{group:<12}" + "".join(f"{figures[key]!s:>12}" for key in COLUMNS))
    if args.json:
        known = json.loads(args.json.read_text()) if args.json.is_file() else {}
        known[name] = {"about": about(), "slack": SLACK, "groups": table}
        args.json.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
