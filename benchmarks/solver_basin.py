# SPDX-License-Identifier: Apache-2.0
"""How far off a start may be for the climb to find the pose: rotation, shift, size; occlusion.

    python benchmarks/solver_basin.py --json basin.json

Synthetic problems (nemo_model.synthetic) on a 28x28 map. Each start is the true pose with one
thing wrong: turned about a random axis, moved across the picture, or nearer or further. No box is
given: the image alone has to bring it back. Right is within 10 degrees and 10 % of the distance.
Rows of the table: how wrong the start is; columns: share of the object hidden.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from solver_common import about, car_model, turned

from nemo_model.pose import geodesic
from nemo_model.solver import SolverModel, solve_warm
from nemo_model.synthetic import Problem, make_problem

HIDDEN = (0.0, 0.3, 0.5, 0.7)
ROTATIONS_DEG = (0, 10, 20, 30, 40, 50, 60, 75, 90, 120, 150, 180)
SHIFTS_CELLS = (0.5, 1, 2, 3, 4, 6)
SCALES = (0.7, 0.8, 0.9, 1.1, 1.25, 1.4)

Start = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """A way to be wrong: the amounts and the start pose that each gives."""

    name: str
    amounts: tuple[float, ...]
    start: Callable[[Problem, float, np.random.Generator], Start]


def _rotated(problem: Problem, degrees: float, rng: np.random.Generator) -> Start:
    return turned(problem.R, degrees, rng), problem.t


def _shifted(problem: Problem, cells: float, rng: np.random.Generator) -> Start:
    angle = rng.uniform(0.0, 2.0 * np.pi)
    step = cells * problem.t[2] / problem.K_map[0, 0]
    return problem.R, problem.t + step * np.array([np.cos(angle), np.sin(angle), 0.0])


def _scaled(problem: Problem, factor: float, rng: np.random.Generator) -> Start:
    return problem.R, problem.t * factor


KINDS = (
    Kind("rotation, degrees", ROTATIONS_DEG, _rotated),
    Kind("shift, cells", SHIFTS_CELLS, _shifted),
    Kind("distance, factor", SCALES, _scaled),
)


def measure(
    model: SolverModel, problems: list[Problem], kind: Kind, amount: float, starts: int
) -> float:
    """Return the share of climbs that end at the true pose."""
    rng = np.random.default_rng(0)
    right = []
    for problem in problems:
        for _ in range(starts):
            R, t = kind.start(problem, amount, rng)
            found = solve_warm(model, problem.features, problem.K_map, R, t)
            right.append(
                geodesic(found.R, problem.R) < np.radians(10.0)
                and np.linalg.norm(found.t - problem.t) < 0.1 * problem.t[2]
            )
    return float(np.mean(right))


def main() -> None:
    """Run the benchmark and print a table per kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="28x28", help="of the feature map")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--vertices", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=40, help="per share hidden")
    parser.add_argument("--starts", type=int, default=3, help="per problem and amount")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    width, height = (int(part) for part in args.size.split("x"))
    model = car_model(args.vertices, args.channels)
    document = {"about": about(), "size": args.size, "problems": args.problems,
                "starts": args.starts, "hidden": list(HIDDEN), "kinds": {}}  # fmt: skip
    problems = {
        hidden: [
            make_problem(model.table, model.clutter, seed, width, height, hidden=hidden)
            for seed in range(args.problems)
        ]
        for hidden in HIDDEN
    }
    for kind in KINDS:
        rows = {}
        print(f"\n{kind.name:<20}" + "".join(f"{100 * h:>7.0f} %" for h in HIDDEN))
        for amount in kind.amounts:
            row = [measure(model, problems[h], kind, amount, args.starts) for h in HIDDEN]
            rows[str(amount)] = [round(share, 3) for share in row]
            print(f"{amount:<20}" + "".join(f"{100 * share:>9.0f}" for share in row), flush=True)
        document["kinds"][kind.name] = rows
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
