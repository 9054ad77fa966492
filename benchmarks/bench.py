# SPDX-License-Identifier: Apache-2.0
"""All of `make bench` in one run and one table: solver, backbone, several objects, memory.

    python benchmarks/bench.py --json benchmarks/results/bench.json

Solver rows: see solver.py. Ratios are to the paper's schedule on the same kernels, at the same map
size, in this run, of CPU times; the torch and PyTorch3D rows are of fewer problems, and only where
these are installed. Photo to pose: the shipped model on pictures of noise (the time of
the backbone does not depend on what it sees) and on maps rendered with its own features, object
after object. The solver uses one thread; the backbone's threads are given. With --photos and
--occluded reference.py is run as well: the same comparison on real photos.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import solver
from solver_common import about, fastest

from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.pose import geodesic
from nemo_model.reference import SOLVERS, cold_solver
from nemo_model.solver import SolverModel, solve_cold, solve_warm
from nemo_model.solver_model import buffers_of
from nemo_model.synthetic import make_problem
from nemo_model.viewpoint import Viewpoint

SIZES = ("24x16", "28x28", "40x40", "56x56")
OBJECTS = (1, 3, 10)
HERE = Path(__file__).parent


def solver_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of solver.py, each with its ratio to the paper's schedule."""
    rows = []
    for size in args.sizes:
        width, height = (int(part) for part in size.split("x"))
        found = solver.rows_of((width, height), args)
        paper = found[-1]["cpu_ms"]
        found += reference_rows((width, height), args)
        rows += [{**row, "ratio": round(paper / row["cpu_ms"], 5)} for row in found]
    return rows


def reference_rows(size: tuple[int, int], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The paper's 144 starts and 300 steps in torch and in PyTorch3D, where they are installed."""
    model = solver.car_model(args.vertices, args.channels)
    rows = []
    for name in SOLVERS[1:]:
        try:
            search = cold_solver(name)
        except NemoError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        times, errors = [], []
        for seed in range(args.reference_problems):
            one = make_problem(model.table, model.clutter, seed, *size, hidden=0.3)
            begin = time.process_time(), time.perf_counter()
            found = search(model, one.features, one.K_map, one.box, one.t)
            times.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
            errors.append(np.degrees(geodesic(found.R, one.R)))
        cpu, wall = 1e3 * np.median(times, axis=0)
        rows.append(
            {
                "map": f"{size[0]}x{size[1]}",
                "solver": f"{name} 144+300",
                "wall_ms": round(float(wall), 1),
                "cpu_ms": round(float(cpu), 1),
                "median_error_deg": round(float(np.median(errors)), 2),
                "within_30_deg": float(np.mean(np.array(errors) < 30.0)),
            }
        )
    return rows


def photo_to_pose(path: Path, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds for 1, 3 and 10 objects of one picture: crop and backbone, cold, warm."""
    rows = []
    for threads in (1, 2):
        estimator = Estimator.load(path, threads=threads)
        for count in OBJECTS:
            times = _objects(estimator, count, repeats)
            rows.append({"objects": count, "backbone_threads": threads, **times})
    return rows


def _objects(estimator: Estimator, count: int, repeats: int) -> dict[str, float]:
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
    boxes = [np.array([40.0 + 30 * k, 100.0, 240.0 + 30 * k, 220.0]) for k in range(count)]
    model, card = estimator.solver, estimator.bundle.card
    size = card.width // 8, card.height // 8
    seen = [make_problem(model.table, model.clutter, k, *size, hidden=0.3) for k in range(count)]
    prior = estimator.viewpoint(estimator.observe(image, K, boxes[0]))
    rest = None, (True,) * 4  # no given place, every side of the box is one

    def cold(viewpoint: Viewpoint | None) -> None:
        for p in seen:
            solve_cold(model, p.features, p.K_map, p.box, *rest, viewpoint)

    def warm() -> None:
        for p in seen:
            solve_warm(model, p.features, p.K_map, p.R, p.t, p.box, *rest, prior)

    runs = {
        "crop_and_backbone_ms": lambda: [estimator.observe(image, K, box) for box in boxes],
        "cold_ms": lambda: cold(prior),
        "cold_without_prior_ms": lambda: cold(None),
        "warm_ms": warm,
    }
    return {name: round(fastest(run, repeats), 2) for name, run in runs.items()}


def memory(model: SolverModel, sizes: tuple[str, ...]) -> dict[str, float]:
    """MiB of the solver's tables, of its buffers by map size, and the process's peak."""
    found = {"tables": _mib(model.table) + _mib(model.patches)}
    for size in sizes:
        width, height = (int(part) for part in size.split("x"))
        buffers = buffers_of(model, height, width)
        found[f"buffers {size}"] = _mib(vars(buffers).values()) + _mib(buffers.work)
    found["process, peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {name: round(value, 2) for name, value in found.items()}


def _mib(parts: Any) -> float:
    return float(sum(part.nbytes for part in parts if isinstance(part, np.ndarray)) / 2**20)


def reference(args: argparse.Namespace) -> None:
    """Run the torch and PyTorch3D reference on a few photos, where it can run."""
    if importlib.util.find_spec("torch") is None or args.photos is None:
        print("\nreference: needs torch (make train-env) and --photos; left out")
        return
    words = [sys.executable, str(HERE / "reference.py"), "--root", str(args.photos),
             "--limit", "8", "--pytorch3d-limit", "1"]  # fmt: skip
    words += ["--occluded", str(args.occluded)] if args.occluded else ["--levels", "0"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*words, "--out", folder], check=True)


def show(document: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{'map':>7}  {'solver':<20}{'wall ms':>10}{'cpu ms':>10}{'x paper':>9}{'error deg':>11}"
          f"{'< 30 deg':>10}")  # fmt: skip
    for row in document["solver"]:
        print(f"{row['map']:>7}  {row['solver']:<20}{row['wall_ms']:>10.2f}{row['cpu_ms']:>10.2f}"
              f"{row['ratio']:>9.4g}{row['median_error_deg']:>11.2f}"
              f"{row['within_30_deg']:>10.2f}")  # fmt: skip
    print(f"\n{'objects':>7}{'threads':>9}{'crop+backbone ms':>18}{'cold ms':>9}"
          f"{'no prior':>10}{'warm ms':>9}")  # fmt: skip
    for row in document.get("photo_to_pose", []):
        print(f"{row['objects']:>7}{row['backbone_threads']:>9}{row['crop_and_backbone_ms']:>18.2f}"
              f"{row['cold_ms']:>9.2f}{row['cold_without_prior_ms']:>10.2f}"
              f"{row['warm_ms']:>9.2f}")  # fmt: skip
    print("\nMiB: " + ", ".join(f"{k} {v}" for k, v in document["memory"].items()), flush=True)


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--vertices", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=20, help="per map size")
    parser.add_argument("--reference-problems", type=int, default=3, help="of the slow reference")
    parser.add_argument("--repeats", type=int, default=5, help="the fastest counts")
    parser.add_argument("--model", type=Path, default=HERE.parent / "models" / "car")
    parser.add_argument("--photos", type=Path, help="PASCAL3D+ layout, for reference.py")
    parser.add_argument("--occluded", type=Path, help="copies made by `nemo occlude`, likewise")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    document: dict[str, Any] = {"about": about()}
    document["about"] |= {key: getattr(args, key) for key in ("channels", "vertices", "problems")}
    document["solver"] = solver_rows(args)
    if (args.model / "card.json").is_file():
        document["photo_to_pose"] = photo_to_pose(args.model, args.repeats)
    model = solver.car_model(args.vertices, args.channels)
    document["memory"] = memory(model, tuple(args.sizes))
    show(document)
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    reference(args)


if __name__ == "__main__":
    main()
