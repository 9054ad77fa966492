# SPDX-License-Identifier: Apache-2.0
"""`nemo evaluate --processes N` says what one process says."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
from pascal3d_files import small_set

from nemo_model.commands import evaluate as command
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation.parallel import evaluate_parallel
from nemo_model.evaluation.samples import from_pascal3d


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("cars"), count=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny.write(folder)
    return folder


def document(photos: Path, model: Path, out: Path, processes: int) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--model", model, "--root", photos, "--json", out, "--processes", processes]
    assert command.run(parser.parse_args([str(word) for word in words])) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    for entry in [found, *found["images"]]:
        assert entry.pop("ms")
    return found


def test_two_processes_write_what_one_does(photos: Path, model: Path, tmp_path: Path) -> None:
    one = document(photos, model, tmp_path / "1.json", 1)
    two = document(photos, model, tmp_path / "2.json", 2)
    assert len(one["images"]) == 5
    assert len({image["rotation_error_deg"] for image in one["images"]}) == 5
    assert two == one


def test_what_fails_in_a_process_is_told(photos: Path, model: Path, tmp_path: Path) -> None:
    samples = from_pascal3d(Pascal3D(photos, "car", split="val").objects)
    with pytest.raises(NemoError, match="--processes 0: must be at least 1"):
        next(evaluate_parallel(partial(Estimator.load, model), samples, "robot", 0))
    with pytest.raises(NemoError, match=r"nowhere.*card\.json"):
        next(evaluate_parallel(partial(Estimator.load, tmp_path / "nowhere"), samples, "robot", 1))
    with pytest.raises(NemoError, match="ended without a result"):
        next(evaluate_parallel(_dies, samples, "robot", 1))
    assert issubclass(DatasetError, NemoError)  # an unreadable image takes the same way


def _dies() -> Any:
    raise SystemExit(3)
