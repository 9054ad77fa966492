# SPDX-License-Identifier: Apache-2.0
"""Calibration: what is fitted from trials, how it is judged, and the command on real photos."""

from __future__ import annotations

import argparse
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from nemo_model.bundle import read_card
from nemo_model.commands import calibrate as command
from nemo_model.commands import occlude
from nemo_model.confidence import probabilities
from nemo_model.covariance import crop_covariance
from nemo_model.errors import NemoError
from nemo_model.evaluation import metrics
from nemo_model.evaluation.calibrate import (
    FOLDS,
    NAMES,
    Trial,
    calibrate,
    cross_validate,
    judge,
    quality,
    trial,
)
from nemo_model.evaluation.spread import Errors, distances, fit_spread
from nemo_model.evaluation.trials import Case
from nemo_model.pose import transform
from nemo_model.symmetry import Symmetry


def trials(count: int, seed: int = 0, front_bias: float = 0.0) -> list[Trial]:
    """Trials that are right the more often the larger the twin margin; a tenth has no object.

    front_bias: how much more often right where the front is seen.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        values = {name: float(rng.normal()) for name in NAMES} | {"relative_margin": 0.0}
        group = f"model {number % 10}"
        if number % 10 == 9:
            values["log_energy"] -= 4.0
            made.append(Trial("background", -1, f"photo {number % 40}", values, math.inf))
            continue
        logit = 1.0 + 2.5 * values["twin_margin"] + front_bias * values["view_front"]
        right = rng.random() < 1.0 / (1.0 + np.exp(-logit))
        doubt = np.exp(-0.4 * values["log_energy"])
        turn = rng.normal(size=3) * 0.05 * doubt
        if not right:
            turn = np.array([0.0, 0.0, 3.0])
        made.append(Trial(
            "object", number % 4, group, values, math.degrees(float(np.linalg.norm(turn))),
            float(rng.uniform(0, 360)), np.concatenate([turn, rng.normal(size=3) * 0.02 * doubt]),
            Rotation.random(random_state=number).as_matrix(), np.array([0.0, 0.0, 2.0]),
            np.diag([1e4, 1e4, 1e4, 1e5, 1e5, 1e4]),
        ))  # fmt: skip
    return made


def test_the_scores_are_calibrated_on_trials_that_they_were_not_fitted_on() -> None:
    calibration = calibrate(trials(3000), "synthetic")
    fresh = trials(3000, seed=1)
    right = [t.error_deg < 30.0 for t in fresh]
    scores = [probabilities(calibration, t.statistics)[0] for t in fresh]
    assert metrics.calibration_error(scores, right) < 0.05
    assert metrics.auroc(scores, right) > 0.85
    assert calibration.data == "synthetic"


def test_the_ellipsoids_cover_errors_that_they_were_not_fitted_on() -> None:
    """Also where errors grow with doubt: at low and at high energy alike."""
    calibration = calibrate(trials(3000), "synthetic")
    fresh = [t for t in trials(3000, seed=2) if t.error_deg < 30.0]
    squared = np.array([judge(calibration, t)[2] for t in fresh])
    energy = np.array([t.statistics["log_energy"] for t in fresh])
    for part in (energy < -0.5, energy > 0.5, np.ones(len(fresh), dtype=bool)):
        assert 0.85 < np.mean(squared[part] < chi2.ppf(0.9, 3)) < 0.95
    assert calibration.spread.weights["log_energy"] < -0.4  # the truth: 2 * -0.4 per deviation


def test_what_the_view_tells_is_left_out_for_even_views() -> None:
    calibration = calibrate(trials(3000, front_bias=2.0), "synthetic")
    assert calibration.within_30.weights["view_front"] > 1.0
    assert "view_front" not in calibration.even_30.weights
    front = dict.fromkeys(NAMES, 0.0) | {"view_front": 1.5}
    rear = front | {"view_front": -1.5}
    assert probabilities(calibration, front)[0] > probabilities(calibration, rear)[0] + 0.2
    even = probabilities(calibration, front, even_views=True)
    assert even == probabilities(calibration, rear, even_views=True)


def test_rare_views_count_more_for_even_views() -> None:
    """Wrong only where seen from behind, and that seldom: a score for even views is lower."""
    rng = np.random.default_rng(3)
    made = [t for t in trials(2000) if t.kind == "object"]
    views = np.where(rng.random(len(made)) < 0.05, 180.0, 0.0)
    made = [
        replace(t, azimuth_deg=a, error_deg=170.0 if a > 90 and rng.random() < 0.8 else 5.0)
        for t, a in zip(made, views, strict=True)
    ]
    calibration = calibrate(made, "synthetic")
    values = dict.fromkeys(NAMES, 0.0)
    plain, even = (probabilities(calibration, values, flag)[0] for flag in (False, True))
    assert plain == pytest.approx(0.96, abs=0.03)
    assert even < 0.9


def test_nothing_to_tell_apart_is_refused() -> None:
    right = [t for t in trials(100) if t.error_deg < 30.0]
    for some in (right, [], [t for t in trials(100) if t.kind == "background"]):
        with pytest.raises(NemoError, match="right and ones that are wrong"):
            calibrate(some, "synthetic")


def test_the_spread_of_drawn_errors_is_found() -> None:
    """Errors drawn from known deviations about the object's own axes, in flat curvature's stead."""
    rng = np.random.default_rng(4)
    count, deviations = 2000, np.array([0.02, 0.04, 0.08])
    R = Rotation.random(count, random_state=5).as_matrix()
    turns = np.einsum("nij,nj->ni", R, rng.normal(size=(count, 3)) * deviations)
    t = np.tile([0.0, 0.0, 2.0], (count, 1))
    shifts = rng.normal(size=(count, 3)) * np.array([0.01, 0.01, 0.1])
    sharp = np.tile(np.diag([1e7] * 6), (count, 1, 1))
    z = np.zeros((count, 0))
    errors = Errors(np.concatenate([turns, shifts], axis=1), R, t, sharp, z)
    spread = fit_spread(errors, ())
    assert np.array(spread.rotation) == pytest.approx(deviations, rel=0.15)
    assert spread.lateral == pytest.approx(0.01, rel=0.2)
    assert spread.depth == pytest.approx(0.05, rel=0.2)
    squared = distances(errors, spread, ())
    assert np.mean(squared[:, 0] < chi2.ppf(0.9, 3)) == pytest.approx(0.9, abs=0.01)
    C = crop_covariance(sharp[0], R[0], t[0], spread)
    assert turns[0] @ np.linalg.solve(C[:3, :3], turns[0]) == pytest.approx(squared[0, 0])


def test_cross_validation_judges_by_groups() -> None:
    found = cross_validate(trials(1500))
    assert {"objects", "L0", "L1", "L2", "L3", "background"} == set(found)
    assert found["objects"]["n"] == 1350
    assert found["objects"]["auroc"] > 0.8
    assert found["objects"]["ece"] < 0.06
    assert 0.8 < found["objects"]["covariance"]["inside_90"] < 0.97
    assert found["background"]["median_score"] < 0.2
    one = [t for t in trials(300) if t.group == "model 0"]
    assert cross_validate(one) == {}
    photos = [t for t in trials(300) if t.kind == "background"]  # groups, but none of objects
    assert cross_validate(one + photos) == {}


def test_a_trial_is_right_by_its_objects_own_symmetry() -> None:
    """Turned by 90 degrees: right for a square table, among tables that are oblong."""
    turned = Rotation.from_rotvec([0.0, 0.0, math.pi / 2]).as_matrix()
    t = np.array([0.0, 0.0, 2.0])
    estimate: Any = SimpleNamespace(
        statistics={}, crop=SimpleNamespace(R_crop_cam=np.eye(3)),
        solution=SimpleNamespace(R=turned, t=t, hessian=np.eye(6)),
    )  # fmt: skip
    estimator: Any = SimpleNamespace(symmetry=Symmetry(2))
    for own, error in ((4, 0.0), (None, 90.0), (0, 0.0), (1, 90.0)):
        case = Case("object", 0, "g", np.zeros(0), np.eye(3), np.zeros(4), transform(np.eye(3), t),
                    own)  # fmt: skip
        assert trial(estimator, case, estimate).error_deg == pytest.approx(error, abs=1e-6)


def test_quality_by_hand() -> None:
    one = trials(4)[0]
    rows = [
        (replace(one, level=0, error_deg=5.0), 0.9, 0.6, 1.0),
        (replace(one, level=3, error_deg=90.0), 0.1, 0.0, math.nan),
        (replace(one, kind="part", level=2, error_deg=20.0), 0.8, 0.2, 100.0),
        (Trial("other", -1, "x", {}, math.inf), 0.7, 0.0, math.nan),
    ]
    found = quality(rows)
    assert found["objects"]["auroc"] == 1.0
    assert found["objects"]["within_10"]["right"] == 0.5
    assert found["objects"]["covariance"]["n"] == 1
    assert found["part"]["covariance"]["inside_99"] == 0.0
    assert found["other"] == {"n": 1, "median_score": 0.7, "share_above_0.5": 1.0}
    assert found["objects"]["risk_coverage"][0] == {"kept": 1.0, "gross": 0.5}


def test_the_command_writes_the_card(
    repository: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, photos = shared_data / "stanford_cars3d", shared_data / "photos_without_pose"
    model, occluded = tmp_path / "car", tmp_path / "occluded"
    shutil.copytree(repository / "models" / "car", model)
    words = ["--root", root, "--split", "train-tune", "--occluders", photos, "--level", "all",
             "--out", occluded, "--limit", 12]  # fmt: skip
    assert occlude.run(_parsed(occlude, words)) == 0
    card = read_card(model)
    shared = ["--root", root, "--occluded-root", occluded, "--backgrounds", photos, "--limit", 12]
    args = _parsed(command, ["--model", model, *shared, "--background-share", 0.5])
    assert command.run(args) == 0
    written = read_card(model)
    assert written.calibration is not None
    assert written.calibration != card.calibration
    assert "train-tune" in written.calibration.data
    assert written.sha256 == card.sha256
    assert "L3" in capsys.readouterr().out
    few = ["--model", model, *shared[:-1], 2, "--background-share", 2.0]
    assert command.run(_parsed(command, few)) == 0
    assert "too few models (or photos) to cross-validate" in capsys.readouterr().out
    refitted = read_card(model).calibration
    assert refitted is not None
    told = re.search(r"seed 0; (\d+) models, ", refitted.data)
    assert told is not None
    assert 0 < int(told[1]) < FOLDS


def test_without_classes_the_card_counts_photos(tmp_path: Path) -> None:
    args = argparse.Namespace(
        root=tmp_path, source="pascal", split="train", occluded_root=["o"], jitter=0.04, seed=0
    )
    told = command._data(args, trials(300))
    assert re.search(r"seed 0; \d+ photos, 300 boxes: ", told)
    (tmp_path / "classes.csv").write_text("name,class\nphoto,model 0\n")
    assert re.search(r"seed 0; \d+ models, 300 boxes: ", command._data(args, trials(300)))


def _parsed(module: object, words: list[object]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args([str(word) for word in words])
