# SPDX-License-Identifier: Apache-2.0
"""Which category of a family an object is of: the one whose mesh explains the image best.

The categories share backbone and clutter model, so what their meshes explain can be compared. With
E_c what the solver maximised for category c (the sum over the covered cells of relu(s - b), by how
much the mesh explains a cell better than the background does, in cosines, and the box term; not the
viewpoint prior, which says how sure a category is of a view and not whether it is one), n_c the
cells that the mesh covers at its pose and n the cells of the box,

    g_c = E_c / sqrt(n_c n),    P(c) = exp(g_c / T) / sum over k of exp(g_k / T).

A sum over n_c cells with independent errors has a deviation that grows with sqrt(n_c): divided by
it, a large mesh does not win by collecting chance agreement on many cells, nor a small one by a few
cells that fit well, as it would by the mean. n makes the number that of a whole box: neighbouring
cells see the same pixels, and a finer map is no more evidence. Only the given categories compete:
of something else P says no more than which of them it resembles most; see the estimate's score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nemo_model.checks import box_in_map
from nemo_model.estimate import Estimate, Observation

TEMPERATURE = 0.03
"""T, in cosines: a lead of 0.03 makes a category e times as likely. A rule of thumb, not fitted."""
KEEP = 0.8
"""Share of the evidence that is kept from frame to frame: at most 5 frames' worth is held."""
FEWEST_CELLS = 4


def gain(seen: Observation, estimate: Estimate) -> float:
    """g_c of the module's text, for one category's estimate of an observation."""
    solution = estimate.solution
    total = estimate.energy
    if solution is not None and solution.total is not None:
        total = solution.total - solution.leaning
    height, width = seen.crop.map_size
    x1, y1, x2, y2 = box_in_map(seen.box, seen.crop)
    across = min(x2, width - 0.5) - max(x1, -0.5)
    down = min(y2, height - 0.5) - max(y1, -0.5)
    box = max(across, 0.0) * max(down, 0.0)
    covered = float((estimate.occlusion >= 0).sum())
    return float(total / math.sqrt(max(covered, FEWEST_CELLS) * max(box, FEWEST_CELLS)))


def probabilities(gains: Mapping[str, float], temperature: float = TEMPERATURE) -> dict[str, float]:
    """P(c) of the module's text. Sums to 1, in the order of `gains`."""
    values = np.array(list(gains.values())) / temperature
    shares = np.exp(values - values.max())
    return dict(zip(gains, (shares / shares.sum()).tolist(), strict=True))


@dataclass(frozen=True)
class Evidence:
    """What several looks at one object say of its category: a leaky sum of their gains."""

    gains: Mapping[str, float] = field(default_factory=dict)

    def plus(self, gains: Mapping[str, float]) -> Evidence:
        """With another look."""
        return Evidence({c: KEEP * self.gains.get(c, 0.0) + g for c, g in gains.items()})

    def probabilities(self, temperature: float = TEMPERATURE) -> dict[str, float]:
        """P(c); empty before the first look."""
        return probabilities(self.gains, temperature) if self.gains else {}
