# SPDX-License-Identifier: Apache-2.0
"""What the solver's benchmarks share: the car-sized model, turned starts, the machine in words."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from scipy.spatial.transform import Rotation

from nemo_model.mesh import cuboid
from nemo_model.solver import SolverConfig, SolverModel
from nemo_model.synthetic import clutter_features, smooth_features

PROTOTYPES = 16
FLAGS = ("avx2", "fma", "avx512f")


def car_model(vertices: int, channels: int, config: SolverConfig | None = None) -> SolverModel:
    """Return a cuboid of a car's proportions with smooth random features."""
    mesh = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], vertices)
    # synthetic boxes jitter on every side: a weaker pull than real ones get
    config = config or SolverConfig(box_weight=0.001)
    features = smooth_features(mesh, channels, 1)
    return SolverModel.build(
        mesh, features, clutter_features(PROTOTYPES, channels, 2), config=config
    )


def turned(R: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Return R (3, 3) turned by an angle about a random axis."""
    axis = rng.normal(size=3)
    axis *= np.radians(degrees) / np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(axis).as_matrix() @ R)


def fastest(run: Callable[[], Any], repeats: int) -> float:
    """Return the shortest of several runs in milliseconds, after one to warm up."""
    run()
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return 1e3 * float(best)


def about() -> dict[str, Any]:
    """Say what was measured on: core count, SIMD, versions, and how busy the machine was."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return {
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), no GPU",
        "simd": [flag for flag in FLAGS if flag in flags],
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": np.__version__,
    }
