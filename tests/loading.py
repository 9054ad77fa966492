# SPDX-License-Identifier: Apache-2.0
"""Loads a script of benchmarks/, which is no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_benchmark(repository: Path, name: str) -> ModuleType:
    """The module of benchmarks/NAME.py, freshly executed."""
    path = repository / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
