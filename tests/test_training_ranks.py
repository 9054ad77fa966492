# SPDX-License-Identifier: Apache-2.0
"""Training on two processes: what one process does, within rounding, and who writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_set

from nemo_model.errors import NemoError
from nemo_model.training import train as loop
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.precision import Precision
from nemo_model.training.ranks import Ranks
from nemo_model.training.train import train

TESTS = Path(__file__).parent
STEPS, BATCH = 3, 3  # one process has two samples of a step, the other one
LOSS, WEIGHT = 2e-3, 2e-3
"""Largest differences: the sums are taken in another order, and Adam's first steps divide gradients
near 0 by their own size."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("ranks"))


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = ["--standalone", "--nproc-per-node", "2", str(TESTS / "ranked_run.py")]
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process."""
    out = tmp_path_factory.mktemp("alone")
    config = training_set.config(steps=STEPS, batch=BATCH, decay=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        train(root, root / "photos", out, config, workers=0)
    return out


def rows(folder: Path) -> np.ndarray:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return np.array([[r[n] for n in ("vertex", "clutter", "pose", "vertex_right")] for r in found])


def close(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.step == expected.step
    for name, value in expected.resume["model"].items():
        difference = (found.resume["model"][name] - value).abs().max()
        assert difference < WEIGHT, name


@pytest.mark.slow
def test_two_processes_go_on_from_one_as_one_does(root: Path, alone: Path, tmp_path: Path) -> None:
    """The checkpoint of one process lies where the second of two does not look for it."""
    config = training_set.config(steps=1, batch=BATCH, decay=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        train(root, root / "photos", tmp_path / "0", config, workers=0)
    done = torchrun(root, tmp_path, STEPS, BATCH)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"0"}  # the second writes nothing
    np.testing.assert_allclose(rows(tmp_path / "0"), rows(alone), rtol=LOSS, atol=LOSS)
    close(
        Checkpoint.load(tmp_path / "0" / "checkpoint.pt"), Checkpoint.load(alone / "checkpoint.pt")
    )


@pytest.mark.slow
def test_a_process_that_fails_ends_all_and_says_why(root: Path, tmp_path: Path) -> None:
    done = torchrun(root, tmp_path, STEPS, BATCH, 1)
    assert done.returncode != 0
    assert "error: rank 1 of 2:" in done.stderr
    assert "nowhere: holds no .jpg or .png photos" in done.stderr
    assert not (tmp_path / "0" / "checkpoint.pt").exists()


# --- shares


@pytest.mark.parametrize(("count", "batch"), [(1, 4), (2, 4), (3, 7)])
def test_the_shares_make_up_the_batch(count: int, batch: int) -> None:
    own = [list(Ranks(rank, count).own(5, batch)) for rank in range(count)]
    assert sorted(number for each in own for number in each) == list(range(5 * batch, 6 * batch))
    assert max(map(len, own)) - min(map(len, own)) <= 1


def test_a_draw_is_the_whole_batch_s() -> None:
    torch.manual_seed(0)
    expected = Ranks().draw(5, 5, 2, 3)
    for rank in range(2):
        torch.manual_seed(0)
        found = Ranks(rank, 2).draw(3 - rank, 5, 2, 3)
        assert torch.equal(found, expected[rank::2])


def test_more_processes_than_samples_are_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NemoError, match="batch: 2 samples are too few for 3 processes"):
        loop.check_share(training_set.config(), Ranks(0, 3))


# --- precision


def test_mixed_precision_trains_on_a_cpu_too(root: Path, tmp_path: Path) -> None:
    """bfloat16 by autocast, the path that a GPU takes: near float32's losses, finite weights."""
    path = train(
        root, root / "photos", tmp_path,
        training_set.config(steps=1, precision="bfloat16", **training_set.PAPER), workers=0,
    )  # fmt: skip
    noted = np.array([7.0096, 4.0564, 2.1945])  # float32's, see test_training_meshes.py
    np.testing.assert_allclose(rows(tmp_path)[0, :3], noted, rtol=0.05)
    saved = Checkpoint.load(path)
    assert all(torch.isfinite(value).all() for value in saved.average.values())
    assert saved.average["bank.raw_theta"].dtype == torch.float32


def test_auto_is_single_precision_on_a_cpu() -> None:
    precision = Precision("auto", torch.device("cpu"))
    assert not precision.mixed
    assert precision.state() == {}
