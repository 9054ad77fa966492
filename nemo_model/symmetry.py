# SPDX-License-Identifier: Apache-2.0
"""Turns about its z axis that leave an object as it is: a bottle has all of them, a table four."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError
from nemo_model.pose import geodesic

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Symmetry:
    """order: 1 none, n: looks the same after every turn by 360 / n degrees, 0: after any turn."""

    order: int = 1

    def __post_init__(self) -> None:
        if self.order < 0:
            raise NemoError(f"symmetry: order is {self.order}, it must be 0 (any turn) or more")

    def nearest(self, rotation: Array, reference: Array) -> Array:
        """The rotation (3, 3) R_cam_obj that looks the same and is nearest to a reference.

        For any turn: R Rz(a) with a = atan2(M21 - M12, M11 + M22) of M = R^T reference, which
        maximises the trace of Rz(a)^T M.
        """
        if self.order == 1:
            return rotation
        M = rotation.T @ reference
        if self.order == 0:
            return np.asarray(rotation @ _about_z(math.atan2(M[1, 0] - M[0, 1], M[0, 0] + M[1, 1])))
        turns = [_about_z(2.0 * math.pi * k / self.order) for k in range(self.order)]
        best = max(range(self.order), key=lambda k: (float(np.sum(turns[k] * M)), -k))
        return np.asarray(rotation @ turns[best])

    def angle(self, a: Array, b: Array) -> float:
        """The angle in radians between two rotations (3, 3), the least over all that look alike."""
        return geodesic(self.nearest(a, b), b)


NONE = Symmetry()


def of_object(order: int | None, category: Symmetry) -> Symmetry:
    """An object's own symmetry where its data set tells the order, else its category's."""
    return category if order is None else Symmetry(order)


def _about_z(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
