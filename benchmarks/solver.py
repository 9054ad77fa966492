# SPDX-License-Identifier: Apache-2.0
"""How long the pose solver takes, by map size, on one thread.

    python benchmarks/solver.py --json solver.json

Synthetic problems with 30 % of the object hidden (nemo_model.synthetic); medians over problems.
Wall time, and CPU time of the thread, which a busy machine does not lengthen. Rows:
  cold         six degrees of freedom from a box alone
  cold, given  rotation only, the translation given (the paper's protocol)
  warm         refinement of a pose 10 degrees off, with the check of the pose turned round
  cold, CAD-like   the same through the z-buffer, as for meshes that are no cuboid
  adam 144+300 the paper's schedule on these kernels: 144 starts, 300 Adam steps from the best
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from solver_common import about, car_model

from nemo_model.objective import Scene, background
from nemo_model.pose import geodesic, rotation_from_angles
from nemo_model.refine import RESULT, TOTAL, Schedule, climb_from
from nemo_model.solver import SolverModel, solve_cold, solve_warm
from nemo_model.solver_input import hints_of
from nemo_model.solver_model import buffers_of
from nemo_model.synthetic import Problem, make_problem


def adam_reference(model: SolverModel, problem: Problem, starts: np.ndarray) -> np.ndarray:
    """Return R (3, 3) of the paper's schedule: the best of the starts, then 300 Adam steps."""
    height, width, channels = problem.features.shape
    buffers = buffers_of(model, height, width)
    flat = problem.features.reshape(-1, channels)
    background(flat, model.clutter, False, buffers.background)
    K = problem.K_map
    scene = Scene(flat, buffers.background, height, width, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    box = hints_of(model, None, K, (True,) * 4, off=True)
    scored = np.zeros((len(starts), RESULT))
    places = np.repeat(problem.t[None], len(starts), axis=0)
    still = Schedule(0, 0.05, 0.05, 0.4, 0.6, 0, 0.05, model.length, 0.3, 0.15, 1e-4)
    climb_from(model.table, scene, box, starts, places, 3, still, buffers.work, scored)
    best = starts[[int(np.argmax(scored[:, TOTAL]))]]
    climbed = np.zeros((1, RESULT))
    climb_from(
        model.table, scene, box, best, places[:1], 3, still._replace(adam_steps=300),
        buffers.work, climbed,
    )  # fmt: skip
    return climbed[0, :9].reshape(3, 3)


def measure(
    solve: Callable[[Problem], Any], problems: list[Problem], repeats: int
) -> dict[str, float]:
    """Return median wall and CPU milliseconds and the accuracy over the problems."""
    solve(problems[0])  # compiled, buffers made
    wall, cpu, errors = [], [], []
    for problem in problems:
        best_wall, best_cpu = np.inf, np.inf
        for _ in range(repeats):
            wall0, cpu0 = time.perf_counter(), time.thread_time()
            R = solve(problem)
            best_cpu = min(best_cpu, time.thread_time() - cpu0)
            best_wall = min(best_wall, time.perf_counter() - wall0)
        wall.append(1e3 * best_wall)
        cpu.append(1e3 * best_cpu)
        errors.append(np.degrees(geodesic(R, problem.R)))
    return {
        "wall_ms": round(float(np.median(wall)), 3),
        "cpu_ms": round(float(np.median(cpu)), 3),
        "median_error_deg": round(float(np.median(errors)), 2),
        "within_30_deg": round(float(np.mean(np.array(errors) < 30.0)), 3),
    }


def rows_of(size: tuple[int, int], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every row for one map size (width, height)."""
    width, height = size
    model = car_model(args.vertices, args.channels)
    none = np.zeros(3, dtype=np.int32)
    table = model.table._replace(box_counts=none)
    other = replace(model, table=table, buffers={})
    problems = [
        make_problem(model.table, model.clutter, seed, width, height, hidden=0.3, box_jitter=0.02)
        for seed in range(args.problems)
    ]
    turn = Rotation.from_rotvec(np.radians([6.0, -7.0, 4.0])).as_matrix()
    starts = np.array([
        rotation_from_angles(a, e, t)
        for a, e, t in product(
            np.arange(12) * np.pi / 6, np.radians([-10, 10, 30, 50]), np.radians([-20, 0, 20])
        )
    ])  # fmt: skip
    solvers: dict[str, Callable[[Problem], Any]] = {
        "cold": lambda p: solve_cold(model, p.features, p.K_map, p.box).R,
        "cold, given": lambda p: solve_cold(model, p.features, p.K_map, p.box, p.t).R,
        "warm": lambda p: solve_warm(model, p.features, p.K_map, turn @ p.R, p.t, p.box).R,
        "cold, CAD-like": lambda p: solve_cold(other, p.features, p.K_map, p.box).R,
        "adam 144+300": lambda p: adam_reference(model, p, starts),
    }
    return [
        {"map": f"{width}x{height}", "solver": name, **measure(solve, problems, args.repeats)}
        for name, solve in solvers.items()
    ]


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["24x16", "28x28", "40x40", "56x56"])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--vertices", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=20, help="per map size")
    parser.add_argument("--repeats", type=int, default=3, help="per problem; the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    rows = []
    print(f"{'map':>7}  {'solver':<15}{'wall ms':>9}{'cpu ms':>9}{'error deg':>11}{'< 30 deg':>10}")
    for size in args.sizes:
        width, height = (int(part) for part in size.split("x"))
        for row in rows_of((width, height), args):
            rows.append(row)
            print(
                f"{row['map']:>7}  {row['solver']:<15}{row['wall_ms']:>9.2f}{row['cpu_ms']:>9.2f}"
                f"{row['median_error_deg']:>11.2f}{row['within_30_deg']:>10.2f}",
                flush=True,
            )
    if args.json:
        document = {
            "about": {
                **about(),
                "threads": 1,
                "channels": args.channels,
                "vertices": args.vertices,
                "problems": args.problems,
            },
            "rows": rows,
        }
        args.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
