# SPDX-License-Identifier: Apache-2.0
"""How large the objects of a category are, and the turns that leave all of them as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nemo_model.errors import NemoError
from nemo_model.synth.catalogue import Entry


@dataclass(frozen=True)
class Prior:
    """What a bundle's card says of a category (fields `size` and `symmetry`).

    Attributes:
        size_m: mean extents along x, y, z, metres; each family counts once.
        sigma: standard deviation / mean of the bounding boxes' diagonals, over the families.
        symmetry: the largest n such that all models look the same after turns by 360 / n degrees;
            0: after any turn.
        families: how many these are taken from.
    """

    size_m: tuple[float, float, float]
    sigma: float
    symmetry: int
    families: int

    def text(self) -> str:
        """One line."""
        x, y, z = self.size_m
        return (
            f"{x:.2f} x {y:.2f} x {z:.2f} m (width, length, height), spread {100 * self.sigma:.0f} "
            f"%, symmetry {self.symmetry}"
        )


def prior(entries: Sequence[Entry]) -> Prior:
    """The prior of models of one category. Raises NemoError where there are none."""
    if not entries:
        raise NemoError("size prior: there are no models to take it from")
    families = sorted({entry.family for entry in entries})
    each = [(e.width_m, e.length_m, e.height_m) for e in entries]
    member = np.array([[e.family == family for e in entries] for family in families], dtype=float)
    sizes = member @ np.array(each) / member.sum(axis=1, keepdims=True)  # (families, 3)
    diagonals = np.linalg.norm(sizes, axis=1)
    x, y, z = (float(v) for v in sizes.mean(axis=0))
    return Prior(
        (x, y, z), float(diagonals.std() / diagonals.mean()),
        math.gcd(*(entry.symmetry for entry in entries)), len(families),
    )  # fmt: skip
