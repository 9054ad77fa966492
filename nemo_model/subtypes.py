# SPDX-License-Identifier: Apache-2.0
"""Which of several meshes an image shows: the one under which it is likeliest.

The paper (Wang et al., NeMo, ICLR 2021) takes the sub-type from the annotation. Nobody annotates a
robot's images, so each mesh is fitted and the likelihoods are compared. They can be, because all
meshes of a bundle share backbone and clutter model: a solution's energy is its log-likelihood
less that of the image without the object, divided by kappa, and the latter is the same for all.
The detector's box is an observation as well, and the viewpoint has a prior: their terms in what the
solver maximises count here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nemo_model.solver import Solution


def likeliest(solutions: Sequence[Solution]) -> int:
    """Place of the solution with the greatest total, or energy where that is all; first of equals.

    Raises:
        ValueError: for an empty list.
    """
    if not solutions:
        raise ValueError("no solution to choose from")
    scores = [each.energy if each.total is None else each.total for each in solutions]
    return int(np.argmax(scores))
