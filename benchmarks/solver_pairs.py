# SPDX-License-Identifier: Apache-2.0
"""Two settings of the solver side by side on the same feature maps of photos, pair by pair.

    python benchmarks/solver_pairs.py --maps maps.npz --set warm_newton_steps=6 --set damping=0.02

compares the shipped settings with those changed by --set: cold, and warm from the shipped cold
pose turned by 2 to 6, 10 to 20 and 25 to 35 degrees, moved and scaled by some percent. Maps are
kept by solver_maps.py. Gained and lost: photos that only the changed (lost: only the shipped)
setting brings within 10 degrees of the label.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from solver_common import about, turned

from nemo_model.bundle import Bundle
from nemo_model.pose import geodesic
from nemo_model.solver import Solution, SolverModel, solve_cold, solve_warm

STARTS = {"warm, 2 to 6 deg off": (2.0, 6.0, 0.02), "warm, 10 to 20 deg off": (10.0, 20.0, 0.05),
          "warm, 25 to 35 deg off": (25.0, 35.0, 0.08)}  # fmt: skip

Solve = Callable[[SolverModel, int], Solution]


def figures(found: list[Solution], truth: np.ndarray) -> dict[str, Any]:
    """Accuracy, energy and evaluations of one setting, and its errors in degrees."""
    pairs = zip(found, truth, strict=True)
    errors = np.degrees([geodesic(one.R, R) for one, R in pairs])
    return {
        "acc_pi_6": round(100.0 * float(np.mean(errors < 30.0)), 2),
        "acc_pi_18": round(100.0 * float(np.mean(errors < 10.0)), 2),
        "median_deg": round(float(np.median(errors)), 2),
        "energy": round(float(np.mean([one.energy for one in found])), 2),
        "evaluations": round(float(np.mean([one.evaluations for one in found])), 1),
        "errors": errors,
    }


def starts(data: Any, cold: list[Solution], low: float, high: float, off: float) -> list[Any]:
    """Return a start pose per map: the cold pose turned, moved and scaled at random."""
    rng = np.random.default_rng(0)
    found = []
    for one in cold:
        R = turned(one.R, rng.uniform(low, high), rng)
        t = one.t * np.exp(off * rng.normal())
        t[:2] += 0.5 * off * rng.normal(size=2)
        found.append((R, t))
    return found


def compare(
    shipped: SolverModel, changed: SolverModel, data: Any, numbers: np.ndarray
) -> dict[str, Any]:
    """Solve all maps with both settings, in every way."""

    def arguments(k: int) -> tuple[Any, Any]:
        return data["features"][k], data["K"][k]

    def rest(k: int) -> tuple[Any, ...]:
        return data["box"][k], None, tuple(bool(flag) for flag in data["reliable"][k])

    cold = [solve_cold(shipped, *arguments(k), *rest(k)) for k in numbers]
    ways: dict[str, Solve] = {"cold": lambda m, n: solve_cold(
        m, *arguments(numbers[n]), *rest(numbers[n]))}  # fmt: skip
    for name, size in STARTS.items():
        begin = starts(data, cold, *size)
        ways[name] = lambda m, n, begin=begin: solve_warm(  # type: ignore[misc]
            m, *arguments(numbers[n]), *begin[n], *rest(numbers[n])
        )
    table: dict[str, Any] = {}
    for name, solve in ways.items():
        first, second = (
            figures([solve(model, n) for n in range(len(numbers))], data["R"][numbers])
            for model in (shipped, changed)
        )
        before, after = first.pop("errors") < 10.0, second.pop("errors") < 10.0
        table[name] = {
            "shipped": first, "changed": second,
            "gained": int((after & ~before).sum()), "lost": int((before & ~after).sum()),
        }  # fmt: skip
    return table


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("models/car"), help="of --maps")
    parser.add_argument("--every", type=int, default=1, help="take every so many maps")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    bundle = Bundle.load(args.model)
    shipped = SolverModel.build(bundle.mesh, bundle.features, bundle.clutter, bundle.outline)
    change = {name: json.loads(value) for name, value in (s.split("=", 1) for s in args.set)}
    changed = SolverModel.build(bundle.mesh, bundle.features, bundle.clutter, bundle.outline,
                                replace(shipped.config, **change))  # fmt: skip
    data = dict(np.load(args.maps))
    numbers = np.arange(0, len(data["R"]), args.every)
    table = compare(shipped, changed, data, numbers)
    print(f"{len(numbers)} maps; changed: {change}")
    for name, row in table.items():
        for which in ("shipped", "changed"):
            f = row[which]
            print(f"{name:<24}{which:<9}{f['acc_pi_6']:>8.2f}{f['acc_pi_18']:>8.2f}"
                  f"{f['median_deg']:>8.2f} deg  E {f['energy']:.2f}  "
                  f"{f['evaluations']:.1f} evaluations")  # fmt: skip
        print(f"{'':<24}gained {row['gained']}, lost {row['lost']}")
    if args.json:
        document = {"about": about(), "maps": len(numbers), "changed": change, "rows": table}
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
