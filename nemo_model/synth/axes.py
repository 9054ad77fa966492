# SPDX-License-Identifier: Apache-2.0
"""Which way a model's file stands: its axes by name, and the turn into the object frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def axis(name: str) -> Array:
    """Unit vector (3,) of "x", "-x", ...."""
    return (-1.0 if name.startswith("-") else 1.0) * np.eye(3)["xyz".index(name[-1])]


def rotation_to_object(up: str, front: str) -> Array:
    """R (3, 3), file to object frame: up to z, front to -y (x is y cross z).

    >>> rotation_to_object("y", "z") @ [0.0, 0.0, 1.0]
    array([ 0., -1.,  0.])
    """
    z, y = axis(up), -axis(front)
    return np.stack([np.cross(y, z), y, z])
