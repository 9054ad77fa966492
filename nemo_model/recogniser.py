# SPDX-License-Identifier: Apache-2.0
"""Category and pose of an object whose category is not known.

recogniser = Recogniser.load("models/household")
estimate, probabilities = recogniser.estimate(image, K, box)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError
from nemo_model.estimate import Estimate, Observation
from nemo_model.estimator import Estimator
from nemo_model.family import load_family, sharing
from nemo_model.mirror import DOUBT
from nemo_model.recognise import TEMPERATURE, gain, probabilities


@dataclass(frozen=True)
class Sight:
    """One look: the estimate and the gain of each category."""

    estimates: Mapping[str, Estimate]
    gains: Mapping[str, float]


class Recogniser:
    """Tells the categories of one family apart.

    Args:
        estimators: by category, over one backbone, crop and clutter model.
        temperature: T of recognise.py.

    Raises:
        NemoError: for estimators that cannot be compared, or none.
    """

    def __init__(
        self, estimators: Mapping[str, Estimator], temperature: float = TEMPERATURE
    ) -> None:
        if not comparable(list(estimators.values())):
            raise NemoError(
                f"categories {', '.join(estimators)}: only those of one family, over one backbone "
                "and clutter model, can be told apart; see docs/categories.md"
            )
        if not temperature > 0.0:
            raise NemoError(f"temperature is {temperature}, it must be positive")
        self.estimators, self.temperature = dict(estimators), temperature

    @classmethod
    def load(
        cls, folder: str | Path, *, temperature: float = TEMPERATURE, **options: Any
    ) -> Recogniser:
        """Load all categories of a family. options: see family.load_family."""
        found = load_family(Path(folder), **options)
        return cls({each.category: each for each in found}, temperature)

    @property
    def categories(self) -> list[str]:
        return list(self.estimators)

    def estimate(
        self, image: npt.NDArray[np.uint8], K: npt.ArrayLike, box: npt.ArrayLike
    ) -> tuple[Estimate, dict[str, float]]:
        """The estimate of the likeliest category, and the probability of each.

        Arguments and errors as in Estimator.estimate.
        """
        seen = self.observe(image, K, box)
        sight = self.look(seen)
        shares = probabilities(sight.gains, self.temperature)
        best = max(shares, key=lambda category: shares[category])
        return self.complete(seen, sight.estimates[best]), shares

    def observe(
        self, image: npt.NDArray[np.uint8], K: npt.ArrayLike, box: npt.ArrayLike
    ) -> Observation:
        """Run the backbone once for all categories."""
        return next(iter(self.estimators.values())).observe(image, K, box)

    def look(self, seen: Observation) -> Sight:
        """The global search for each category, in the picture alone."""
        once = replace(seen, pixels=None)
        found = {category: one.solve(once) for category, one in self.estimators.items()}
        return Sight(found, {category: gain(seen, one) for category, one in found.items()})

    def complete(self, seen: Observation, estimate: Estimate) -> Estimate:
        """The estimate, by a look at the mirror image too where it leaves doubt."""
        one = self.estimators[estimate.category]
        solution = estimate.solution
        if not one.mirror or solution is None or solution.relative_margin >= DOUBT:
            return estimate
        return one.solve(seen)


def comparable(estimators: Sequence[Any]) -> bool:
    """Whether what their meshes explain can be compared: one backbone, crop and clutter model."""
    if not estimators or len(sharing(estimators)) > 1:
        return False
    return all(
        isinstance(each, Estimator)
        and np.array_equal(each.bundle.clutter, estimators[0].bundle.clutter)
        for each in estimators
    )
