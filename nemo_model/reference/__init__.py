# SPDX-License-Identifier: Apache-2.0
"""The paper's render-and-compare by automatic differentiation: what the solver is held to.

`render.py` draws a mesh with torch alone, `pytorch3d_render.py` through PyTorch3D, `objective.py`
gives value, gradient and Hessian in any precision, `schedule.py` is the paper's search. Needs torch
(the extra ``train``); nothing is imported until a solver is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from nemo_model.errors import NemoError
from nemo_model.solver import Solution, solve_cold

SOLVERS = ("numba", "torch", "pytorch3d")
INSTALL_PYTORCH3D = "https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md"


def cold_solver(name: str, threads: int = 1) -> Callable[..., Solution]:
    """Return a solver of SOLVERS by name, called as nemo_model.solver.solve_cold is.

    Args:
        name: "numba" is the solver of this package; "torch" and "pytorch3d" are the reference.
        threads: CPU threads of torch (for the whole process); the numba solver uses one.

    Raises:
        NemoError: for another name, or when torch or PyTorch3D is not installed.
    """
    if name not in SOLVERS:
        raise NemoError(f"solver '{name}' is not known; choose one of {', '.join(SOLVERS)}")
    if name == "numba":
        return solve_cold
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise NemoError(
            f"solver '{name}' needs torch, which is not installed: make train-env, or pip install "
            ".[train]"
        ) from error
    from nemo_model.reference.pytorch3d_render import pytorch3d_fragments
    from nemo_model.reference.render import torch_fragments
    from nemo_model.reference.schedule import solve

    torch.set_num_threads(threads)
    return partial(solve, draw=torch_fragments if name == "torch" else pytorch3d_fragments())
