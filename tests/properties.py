# SPDX-License-Identifier: Apache-2.0
"""Property tests as they are run here: the same examples every time, however slow the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy


def holds_for(*strategies: SearchStrategy[Any], examples: int = 50) -> Callable[..., Any]:
    """Check a test function with values drawn from strategies, one per argument from the right."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        fixed = settings(deadline=None, derandomize=True, max_examples=examples)
        return fixed(given(*strategies)(test))

    return decorate
