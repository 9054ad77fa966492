# SPDX-License-Identifier: Apache-2.0
"""The training loop: it learns, it can be interrupted, and it refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import training_set

from nemo_model.errors import NemoError
from nemo_model.training import train as loop
from nemo_model.training.backbone import Trunk, load_imagenet
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.config import TrainConfig
from nemo_model.training.train import learning_rate, train


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("loop"))


def run(root: Path, out: Path, config: TrainConfig, **options: Any) -> Path:
    return train(root, root / "photos", out, config, workers=0, **options)


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of four steps."""
    out = tmp_path_factory.mktemp("finished")
    assert run(root, out, training_set.config()) == out / "checkpoint.pt"
    return out


def interrupted(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """A run that is stopped before step number `steps`, having saved every two."""
    done = []
    step = loop._step

    def until(*arguments: Any) -> Any:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_step", until)
        with pytest.raises(KeyboardInterrupt):
            run(root, out, training_set.config(), save_every=2)


# --- what a run leaves behind


def test_a_run_leaves_checkpoint_config_and_log(finished: Path) -> None:
    saved = Checkpoint.load(finished / "checkpoint.pt")
    assert saved.step == 4
    assert saved.config == training_set.config()
    assert TrainConfig.model_validate_json((finished / "config.json").read_text()) == saved.config
    assert saved.mesh.vertices.shape[1] == 3
    assert saved.outline.shape == (400, 3)
    assert all(torch.isfinite(value).all() for value in saved.average.values())
    rows = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 0
    assert set(rows[0]) == {
        "step", "seconds", "vertex", "clutter", "pose", "viewpoint", "vertex_right", "pose_right",
        "viewpoint_right",
    }  # fmt: skip
    assert not list(finished.glob("*.partial"))


def test_the_frozen_blocks_keep_their_imagenet_weights(finished: Path) -> None:
    saved = Checkpoint.load(finished / "checkpoint.pt")
    trunk = Trunk()
    load_imagenet(trunk)
    moved = {
        name: not torch.equal(value, saved.resume["model"][f"backbone.trunk.{name}"])
        for name, value in trunk.state_dict().items()
    }
    frozen = ("stem.", "blocks.0.", "blocks.1.", "blocks.2.")
    assert not any(moved[name] for name in moved if name.startswith(frozen))
    assert all(moved[name] for name in moved if not name.startswith(frozen))


def test_the_exported_weights_are_an_average(finished: Path) -> None:
    saved = Checkpoint.load(finished / "checkpoint.pt")
    name = "bank.raw_theta"
    assert not torch.equal(saved.average[name], saved.resume["model"][name])
    assert (saved.average[name] - saved.resume["model"][name]).abs().max() < 0.1


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    root: Path, finished: Path, tmp_path: Path
) -> None:
    first = Checkpoint.load(finished / "checkpoint.pt")
    again = Checkpoint.load(run(root, tmp_path / "again", training_set.config()))
    for name, value in first.average.items():
        torch.testing.assert_close(again.average[name], value, rtol=0, atol=1e-6)
    other = Checkpoint.load(run(root, tmp_path / "other", training_set.config(seed=1)))
    assert not torch.allclose(other.average["bank.raw_theta"], first.average["bank.raw_theta"])


def test_it_learns(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty small steps on the coloured cuboids lower the loss and raise what is right."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    config = training_set.config(
        steps=40, batch=4, warmup=5, width=96, height=64, augment=training_set.PLAIN
    )
    run(root, tmp_path, config)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(40))

    def mean(name: str, part: slice) -> float:
        return sum(row[name] for row in rows[part]) / len(rows[part])

    first, last = slice(0, 8), slice(-8, None)
    assert mean("vertex", last) < 0.75 * mean("vertex", first)
    assert mean("pose", last) < mean("pose", first)
    assert mean("vertex_right", last) > mean("vertex_right", first)


# --- interrupted and resumed


@pytest.mark.parametrize("steps", [2, 3])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    root: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Stopped after two or three steps; the checkpoint is of step two in both cases."""
    interrupted(root, tmp_path, monkeypatch, steps)
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 2
    resumed = Checkpoint.load(run(root, tmp_path, training_set.config(), resume=True))
    whole = Checkpoint.load(finished / "checkpoint.pt")
    assert resumed.step == 4
    for name, value in whole.average.items():
        torch.testing.assert_close(resumed.average[name], value, rtol=0, atol=1e-6)
    for name, value in whole.resume["model"].items():
        torch.testing.assert_close(resumed.resume["model"][name], value, rtol=0, atol=1e-6)


def test_resuming_a_finished_run_changes_nothing(
    root: Path, tmp_path: Path, finished: Path
) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(before)
    run(root, tmp_path, training_set.config(), resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_run_can_be_made_longer(root: Path, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((finished / "checkpoint.pt").read_bytes())
    longer = training_set.config(steps=5)
    assert Checkpoint.load(run(root, tmp_path, longer, resume=True)).step == 5


def test_resume_without_a_checkpoint_begins_anew(root: Path, tmp_path: Path) -> None:
    config = training_set.config(steps=1)
    assert Checkpoint.load(run(root, tmp_path, config, resume=True)).step == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 3}, "batch was 2, now 3"),
        ({"features": 24}, "features was 16, now 24"),
        ({"seed": 5}, "seed was 0, now 5"),
        ({"width": 96}, "width was 64, now 96"),
        ({"prototypes": 5}, "prototypes was 4, now 5"),
        ({"frozen_blocks": 1}, "frozen_blocks was 3, now 1"),
        ({"vertices": 400}, "another number of vertices"),
        ({"steps": 3}, "4 steps, more than the 3"),
    ],
)
def test_a_resume_that_does_not_fit_is_refused(
    root: Path, finished: Path, changes: dict[str, Any], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(NemoError, match=message):
        run(root, finished, training_set.config(**changes), resume=True)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


# --- bad files


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(NemoError, match=r"none\.pt: no such checkpoint"):
        Checkpoint.load(tmp_path / "none.pt")


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "other", "list", "folder"])
def test_what_is_no_checkpoint_is_refused_by_name(
    finished: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "bad.pt"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no checkpoint at all")
    elif kind == "cut":
        data = (finished / "checkpoint.pt").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "list":
        torch.save([1, 2, 3], path)
    else:
        path.mkdir()
    with pytest.raises(NemoError, match=r"bad\.pt: is not a checkpoint"):
        Checkpoint.load(path)


def test_missing_data_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(NemoError, match="nowhere"):
        train(tmp_path / "nowhere", root / "photos", tmp_path, training_set.config(), workers=0)
    with pytest.raises(NemoError, match="nowhere"):
        train(root, tmp_path / "nowhere", tmp_path, training_set.config(), workers=0)


# --- the rate


def test_the_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(steps=100, warmup=10, decay=0.3)
    rate = [learning_rate(step, config) for step in range(100)]
    assert rate[0] == pytest.approx(0.1)
    assert rate[4] == pytest.approx(0.5)
    assert rate[9:71] == [1.0] * 62
    assert rate[85] == pytest.approx(0.5)
    assert rate[99] == pytest.approx(1 / 30)
    assert rate[70:] == sorted(rate[70:], reverse=True)


@pytest.mark.parametrize("changes", [{"warmup": 0}, {"decay": 0.0}, {"steps": 1}])
def test_the_rate_at_its_limits(changes: dict[str, Any]) -> None:
    config = TrainConfig(**({"steps": 10, "warmup": 2} | changes))
    rates = [learning_rate(step, config) for step in range(config.steps)]
    assert all(0.0 < rate <= 1.0 for rate in rates)


# --- starting from other weights


def test_a_run_starts_from_the_weights_it_is_given(
    root: Path, tmp_path: Path, finished: Path
) -> None:
    given = Checkpoint.load(finished / "checkpoint.pt").average
    still = training_set.config(steps=1, trunk_rate=0.0, head_rate=0.0, bank_rate=0.0)
    found = Checkpoint.load(run(root, tmp_path / "from", still, initial=given)).average
    weights = [name for name in given if not name.endswith("count")]
    assert all(torch.equal(found[name], given[name]) for name in weights)


def test_weights_of_another_network_are_refused(root: Path, tmp_path: Path, finished: Path) -> None:
    given = Checkpoint.load(finished / "checkpoint.pt").average
    other = training_set.config(steps=1, features=8)
    with pytest.raises(NemoError, match="weights to start from: do not fit"):
        run(root, tmp_path / "other", other, initial=given)
