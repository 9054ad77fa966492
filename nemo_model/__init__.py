# SPDX-License-Identifier: Apache-2.0
"""nemo_model: object pose by render-and-compare on neural features. Knows no ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemo_model.estimator import Estimate, Estimator, Given

__all__ = ["Estimate", "Estimator", "Given"]


def __getattr__(name: str) -> object:
    """Load the estimator on first use, so that training tools and the CLI start without it."""
    if name in __all__:
        from nemo_model import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module 'nemo_model' has no attribute {name!r}")
