# SPDX-License-Identifier: Apache-2.0
"""What bounds the solver: time, operations and bytes per stage against what one core can do.

    python benchmarks/roofline.py --json roofline.json

One synthetic problem per map size, 30 % hidden. Each stage is repeated inside compiled code, so no
call from Python is in its time. Operations are counted from the kernels' text: multiply and add
each one, for the covered cells of this problem. Bytes are what a stage reads and writes once
(features, background, vertex features of the squares met, buffers), whatever cache it comes from.
The core's peak is measured in the same run: a matrix product of the BLAS, and reading an array
that fits each cache.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from solver_common import about, car_model, fastest, turned

from nemo_model.boxfit import pull
from nemo_model.objective import background, evaluate, render
from nemo_model.refine import solve_damped, step_pose
from nemo_model.search import lookup_table, peaks, scan
from nemo_model.solver import solve_cold, solve_warm
from nemo_model.solver_input import hints_of, scene_of
from nemo_model.synthetic import make_problem

FLOPS_CAST = 24  # a cell's ray, square and place
FLOPS_GRADIENT = 26  # a cell's share of the gradient: slopes, cross product, six sums
FLOPS_HESSIAN = 94  # of the Hessian: two rows, two cross products, 36 products and sums


@numba.njit(cache=True)
def _render(times, table, scene, R, t, work):  # type: ignore[no-untyped-def]
    for _ in range(times):
        render(table, scene, R, t, work)


@numba.njit(cache=True)
def _evaluate(times, table, scene, R, t, work, order):  # type: ignore[no-untyped-def]
    for k in range(times):  # some poses in turn, lest the branches be learnt by heart
        evaluate(table, scene, R[k % len(R)], t, work, order)


@numba.njit(cache=True)
def _background(times, scene, clutter):  # type: ignore[no-untyped-def]
    for _ in range(times):
        background(scene.features, clutter, False, scene.background)


@numba.njit(cache=True)
def _box_term(times, box, scene, R, t, work):  # type: ignore[no-untyped-def]
    for _ in range(times):
        pull(box.outline, R, t, box.rays, scene.fx, scene.fy, box.weights, box.sigmas, box.scale,
             2, work.gradient, work.hessian)  # fmt: skip


@numba.njit(cache=True)
def _step(times, work, R, t):  # type: ignore[no-untyped-def]
    step = np.zeros(6)
    for _ in range(times):
        solve_damped(work.hessian, work.gradient, 6, 0.05, step)
        step[:] = 0.0
        step[0] = 1e-9
        step_pose(R, t, step, 0.4, 6)


@numba.njit(cache=True, fastmath=True)
def _read(times, values):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for k in range(times):
        values[k % len(values)] += np.float32(1.0)
        for i in range(len(values)):
            total += values[i]
    return total


def per_call(run: Callable[[int], Any], times: int = 200, repeats: int = 7) -> float:
    """Return microseconds per call of a loop that is compiled, the fastest of some runs."""
    run(2)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        run(times)
        best = min(best, time.perf_counter() - start)
    return 1e6 * float(best) / times


def core() -> dict[str, float]:
    """Return what the core reaches: GFLOP/s in a float32 product, GB/s reading by array size."""
    a = np.random.default_rng(0).normal(size=(768, 768)).astype(np.float32)
    peak = 2e-6 * 768**3 / fastest(lambda: a @ a, 20)
    found = {"gflops": round(peak, 1)}
    for name, size in (("32 KiB", 2**15), ("512 KiB", 2**19), ("8 MiB", 2**23), ("128 MiB", 2**27)):
        values = np.ones(size // 4, dtype=np.float32)
        times = max(1, 2**26 // size)
        microseconds = per_call(lambda n, v=values: _read(n, v), times)  # type: ignore[misc]
        found[f"read {name}, GB/s"] = round(1e-3 * size / microseconds, 1)
    return found


def stages(size: tuple[int, int], channels: int, vertices: int) -> dict[str, Any]:
    """Measure every stage for one map size (width, height)."""
    width, height = size
    model = car_model(vertices, channels)
    config = model.config
    problem = make_problem(model.table, model.clutter, 3, width, height, hidden=0.3)
    scene, buffers = scene_of(model, problem.features, problem.K_map)
    work = buffers.work
    background(scene.features, model.clutter, False, scene.background)
    box = hints_of(model, problem.box, problem.K_map, (True,) * 4, off=False)
    rng = np.random.default_rng(0)
    some = np.array([turned(problem.R, degrees, rng) for degrees in (0, 2, 4, 6, 8, 10, 12)])
    R, t = problem.R.copy(), problem.t.copy()
    covered = 0.0
    for one in some:
        evaluate(model.table, scene, one, t, work, 2)
        covered += work.sums[1] / len(some)
    cells, prototypes = width * height, len(model.clutter)
    patches, grid = len(model.patches.features), len(model.rotations)
    places = grid * len(config.distance_factors)
    looked_up = places * patches * 0.5 * len(buffers.shifts)  # half of a cuboid's patches face us
    lookup_args = (scene.features, model.patches.features, scene.background, height, width,
                   buffers.pad, buffers.transposed, buffers.rows, buffers.lookup)  # fmt: skip
    scan_args = (
        model.rotations, model.views, model.patches, model.outline, box.rays, box.weights,
        np.zeros(3), False, np.asarray(config.distance_factors), buffers.shifts, buffers.lookup,
        buffers.pad, scene.fx, scene.fy, scene.cx, scene.cy, height, width, buffers.scores,
        buffers.translations,
    )  # fmt: skip
    chosen = np.zeros(config.starts, dtype=np.int64)
    dots = covered * 3 * 2 * channels
    value_bytes = covered * 4 * (channels + 3 * channels + 12)
    value = per_call(lambda n: _evaluate(n, model.table, scene, some, t, work, 0))
    gradient = per_call(lambda n: _evaluate(n, model.table, scene, some, t, work, 1))
    hessian = per_call(lambda n: _evaluate(n, model.table, scene, some, t, work, 2))
    rows = {
        "background": (
            per_call(lambda n: _background(n, scene, model.clutter)),
            2.0 * cells * prototypes * channels, 4.0 * cells * channels),
        "cast rays": (
            per_call(lambda n: _render(n, model.table, scene, R, t, work)),
            covered * FLOPS_CAST, 4.0 * cells),
        "value (with rays)": (value, dots + covered * (FLOPS_CAST + 8), value_bytes),
        "gradient (with value)": (
            gradient, dots + covered * (FLOPS_CAST + 8 + FLOPS_GRADIENT),
            value_bytes + covered * 48),
        "Hessian (with both)": (
            hessian, dots + covered * (FLOPS_CAST + 8 + FLOPS_GRADIENT + FLOPS_HESSIAN),
            value_bytes + covered * 84),
        "box term": (per_call(lambda n: _box_term(n, box, scene, R, t, work)), 0.0, 0.0),
        "solve and step": (per_call(lambda n: _step(n, work, R, t)), 0.0, 0.0),
        "lookup table": (
            1e3 * fastest(lambda: lookup_table(*lookup_args), 30),
            2.0 * cells * patches * channels, 4.0 * (cells * channels + buffers.lookup.size)),
        "scan": (1e3 * fastest(lambda: scan(*scan_args), 20),
                 places * patches * 30.0 + 2.0 * looked_up, 4.0 * looked_up),
        "peaks": (1e3 * fastest(
            lambda: peaks(model.rotations, buffers.scores, 0.9, chosen), 30), 0.0, 0.0),
    }  # fmt: skip
    where = (problem.features, problem.K_map)
    warm = solve_warm(model, *where, some[5], t, problem.box)
    cold = solve_cold(model, *where, problem.box)
    return {
        "covered": round(covered, 1),
        "stages": {name: _row(*row) for name, row in rows.items()},
        "warm_us": round(1e3 * fastest(
            lambda: solve_warm(model, *where, some[5], t, problem.box), 100), 1),
        "warm_evaluations": warm.evaluations,
        "cold_us": round(1e3 * fastest(lambda: solve_cold(model, *where, problem.box), 40), 1),
        "cold_evaluations": cold.evaluations,
    }  # fmt: skip


def _row(microseconds: float, operations: float, moved: float) -> dict[str, float]:
    return {
        "us": round(microseconds, 2),
        "kflop": round(1e-3 * operations, 1),
        "kib": round(moved / 1024, 1),
        "gflops": round(1e-3 * operations / microseconds, 1),
        "gb_per_s": round(1e-3 * moved / microseconds, 1),
    }


def main() -> None:
    """Run the benchmark and print a table per map size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["24x16", "28x28", "56x56"])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--vertices", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    document: dict[str, Any] = {"about": about(), "core": core(), "sizes": {}}
    peak = document["core"]["gflops"]
    print(json.dumps(document["core"]))
    for size in args.sizes:
        width, height = (int(part) for part in size.split("x"))
        found = stages((width, height), args.channels, args.vertices)
        document["sizes"][size] = found
        print(f"\n{size}, {found['covered']} cells covered: warm {found['warm_us']} us with "
              f"{found['warm_evaluations']} evaluations, cold {found['cold_us']} us with "
              f"{found['cold_evaluations']}")  # fmt: skip
        print(f"{'stage':<24}{'us':>9}{'kflop':>9}{'KiB':>9}{'GFLOP/s':>9}{'% peak':>8}{'GB/s':>8}")
        for name, row in found["stages"].items():
            share = 100.0 * row["gflops"] / peak
            print(f"{name:<24}{row['us']:>9.2f}{row['kflop']:>9.1f}{row['kib']:>9.1f}"
                  f"{row['gflops']:>9.1f}{share:>8.1f}{row['gb_per_s']:>8.1f}")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
