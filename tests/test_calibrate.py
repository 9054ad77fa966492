# SPDX-License-Identifier: Apache-2.0
"""Calibration: what is fitted from trials, how it is judged, and the command on real photos."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from nemo_model.bundle import read_card
from nemo_model.commands import calibrate as command
from nemo_model.commands import occlude
from nemo_model.confidence import STATISTICS, probability
from nemo_model.errors import NemoError
from nemo_model.evaluation.calibrate import Trial, calibrate, reliability


def trials(count: int, scale: float, seed: int = 0) -> list[Trial]:
    """Trials whose chance to be right rises with the relative margin alone."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        values = {name: float(rng.normal()) for name in STATISTICS}
        right = bool(rng.random() < 1.0 / (1.0 + np.exp(-3.0 * values["relative_margin"])))
        made.append(Trial(values, right, float(scale * rng.chisquare(3)) if right else None))
    return made


def test_the_variance_scale_makes_the_median_distance_a_chi_square() -> None:
    found = calibrate(trials(3000, 7.0), "synthetic").variance_scale
    assert found == pytest.approx(7.0, rel=0.1)
    assert chi2.median(3) == pytest.approx(2.366, abs=1e-3)


def test_the_score_is_calibrated_on_trials_that_it_was_not_fitted_on() -> None:
    calibration = calibrate(trials(3000, 1.0), "synthetic")
    fresh = trials(3000, 1.0, seed=1)
    scores = np.array([probability(calibration, t.statistics) for t in fresh])
    quality = reliability(scores, np.array([float(t.right) for t in fresh]))
    assert quality["ece"] < 0.05
    assert quality["auroc"] > 0.85


def test_nothing_to_tell_apart_is_refused() -> None:
    right = [t for t in trials(100, 1.0) if t.right]
    with pytest.raises(NemoError, match="right and ones that are wrong"):
        calibrate(right, "synthetic")


def test_reliability_of_known_scores() -> None:
    outcome = np.array([0.0, 0.0, 1.0, 1.0])
    perfect = reliability(outcome, outcome)
    assert perfect["auroc"] == 1.0
    assert perfect["ece"] == pytest.approx(0.0)
    ignorant = reliability(np.full(4, 0.5), outcome)
    assert ignorant["auroc"] == 0.5
    assert ignorant["ece"] == pytest.approx(0.0)
    assert ignorant["nll"] == pytest.approx(np.log(2.0))
    assert reliability(1.0 - outcome, outcome)["ece"] == pytest.approx(1.0)


def test_the_command_writes_the_card(repository: Path, shared_data: Path, tmp_path: Path) -> None:
    root, photos = shared_data / "stanford_cars3d", shared_data / "backgrounds" / "bsds500"
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


def _parsed(module: object, words: list[object]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args([str(word) for word in words])
