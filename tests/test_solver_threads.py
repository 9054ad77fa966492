# SPDX-License-Identifier: Apache-2.0
"""The solver gives the same bytes however many threads the libraries beneath it may use."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import hashlib
import numpy as np
from nemo_model.mesh import cuboid
from nemo_model.solver import SolverConfig, SolverModel, solve_cold, solve_warm
from nemo_model.synthetic import clutter_features, make_problem, smooth_features

mesh = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 300)
clutter = clutter_features(4, 16, 0)
config = SolverConfig(azimuths=12, patches=60)
model = SolverModel.build(mesh, smooth_features(mesh, 16, 1), clutter, config=config)
digest = hashlib.sha256()
for seed in range(3):
    problem = make_problem(model.table, clutter, seed, hidden=0.3)
    where = problem.features, problem.K_map
    cold = solve_cold(model, *where, problem.box)
    warm = solve_warm(model, *where, cold.R, cold.t, problem.box)
    for found in (cold, warm):
        for value in (found.R, found.t, found.hessian, found.occlusion, found.margin):
            digest.update(np.asarray(value).tobytes())
print(digest.hexdigest())
"""


def test_one_and_two_threads_give_the_same_bytes() -> None:
    found = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 64
