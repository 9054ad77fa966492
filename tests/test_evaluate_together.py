# SPDX-License-Identifier: Apache-2.0
"""Objects of one image are evaluated in competition, as the node estimates them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from test_estimator import CAMERA
from test_together import street

from nemo_model import Estimator
from nemo_model.datasets.common import read_image
from nemo_model.errors import NemoError
from nemo_model.evaluation.evaluate import evaluate, evaluate_one
from nemo_model.evaluation.parallel import evaluate_parallel
from nemo_model.evaluation.samples import Sample


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("evaluate") / "tiny")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Two pictures of two objects each, one half behind the other."""
    found = []
    folder = tmp_path_factory.mktemp("pictures")
    for name, far_at in (("a", (345.0, 235.0)), ("b", (352.0, 230.0))):
        image, boxes, poses, _ = street(far_at=far_at)
        path = folder / f"{name}.png"
        assert cv2.imwrite(str(path), image[:, :, ::-1])
        found += [
            Sample(name, k, path, partial(read_image, path), CAMERA.K, box, T, metric=True)
            for k, (box, T) in enumerate(zip(boxes, poses, strict=True))
        ]
    return found


def test_the_hidden_one_is_right_only_beside_the_other(model: Path, samples: list[Sample]) -> None:
    estimator = Estimator.load(model)
    together = [one.rotation_error_deg for one in evaluate(estimator, samples, "robot")]
    alone = [evaluate_one(estimator, one, "robot").rotation_error_deg for one in samples]
    assert max(together) < 10.0
    assert alone[0] == together[0]
    assert max(alone) > 20.0
    paper = [one.rotation_error_deg for one in evaluate(estimator, samples, "paper")]
    assert len(paper) == 4


def test_several_processes_keep_an_images_objects_together(
    model: Path, samples: list[Sample]
) -> None:
    load = partial(Estimator.load, model)
    one = [r.rotation_error_deg for r in evaluate(load(), samples, "robot")]
    two = [r.rotation_error_deg for r in evaluate_parallel(load, samples, "robot", 3)]
    assert two == one


def test_a_refused_box_does_not_cost_the_other_one(model: Path, samples: list[Sample]) -> None:
    bad = Sample(
        "a", 9, samples[0].image_path, samples[0].read_image, CAMERA.K, np.array([5.0, 5, 5, 5]),
        samples[0].T_cam_obj, metric=True,
    )  # fmt: skip
    good, refused = evaluate(Estimator.load(model), [samples[0], bad], "robot")
    assert good.failure == ""
    assert good.rotation_error_deg < 10.0
    assert "empty" in refused.failure
    with pytest.raises(NemoError, match="protocol"):
        next(evaluate(Estimator.load(model), samples, "fast"))
