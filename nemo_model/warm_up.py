# SPDX-License-Identifier: Apache-2.0
"""Run a model once, so that nothing is compiled or allocated while the first frame waits."""

from __future__ import annotations

import numpy as np

from nemo_model.camera import STRIDE
from nemo_model.estimator import Estimator
from nemo_model.solver import prepare

K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
BOX = (80.0, 60.0, 240.0, 180.0)


def warm_up(estimator: Estimator) -> None:
    """Estimate a picture of noise, cold and warm, and compile the solver's rarer ways."""
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    prior = estimator.estimate(image, K, BOX).T_cam_obj.copy()
    prior[2, 3] = max(float(prior[2, 3]), 0.1)
    estimator.estimate(image, K, BOX, prior=prior)
    if isinstance(estimator, Estimator):  # a stand-in of a test has nothing to compile
        card = estimator.bundle.card
        for variant in estimator.variants:
            prepare(variant.solver, card.height // STRIDE, card.width // STRIDE)
        seen = estimator.observe(image, K, BOX)
        estimator.gains(seen, estimator.solve(seen))  # for objects that overlap
