# SPDX-License-Identifier: Apache-2.0
"""The mean of several trainings' weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import training_set

from nemo_model import cli
from nemo_model.bundle import Card, SizePrior, write_card
from nemo_model.errors import NemoError
from nemo_model.mesh import cuboid, mean_outline
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.export import export
from nemo_model.training.network import NeuralMesh
from nemo_model.training.parts import whole
from nemo_model.training.soup import averaged


def checkpoint(path: Path, seed: int, vertices: int = 150) -> Path:
    torch.manual_seed(seed)
    config = training_set.config(steps=seed + 1, vertices=vertices)
    mesh = cuboid([-0.2, -0.43, -0.16], [0.2, 0.43, 0.16], config.vertices)
    state = NeuralMesh(len(mesh.vertices), config).state_dict()
    resume = {"model": {}, "optimiser": {"left": torch.zeros(3)}}
    meshes = whole("car", mesh, mean_outline([mesh]))
    Checkpoint(config, meshes, seed + 1, state, resume).save(path)
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("parts")
    return checkpoint(folder / "a.pt", 0), checkpoint(folder / "b.pt", 1)


def test_weights_are_the_mean_and_all_else_is_the_last_ones(parts: tuple[Path, Path]) -> None:
    mean, (first, last) = averaged(parts, [1.0, 3.0]), map(Checkpoint.load, parts)
    assert (mean.step, mean.config, mean.meshes.category) == (2, last.config, "car")
    for name, value in mean.average.items():
        a, b = first.average[name], last.average[name]
        if name.startswith("bank."):
            a, b = (torch.nn.functional.normalize(each, dim=1) for each in (a, b))
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.25 * a + 0.75 * b)
        else:
            assert value.equal(b)
    assert not mean.resume["optimiser"]


def test_one_part_may_be_a_bundle(parts: tuple[Path, Path], tmp_path: Path) -> None:
    one = Checkpoint.load(parts[0])
    card = Card(
        name="car", category="car", width=64, height=64, features=16, data="d", split="s", seed=0,
        size=SizePrior(length_m=4.0, sigma=0.1, source="s"), command="c", licence="l", sha256={},
        training={},
    )  # fmt: skip
    export(one, card, tmp_path / "car")
    mean = averaged([tmp_path / "car", parts[1]], [0.5, 0.5])
    other = averaged(parts, [0.5, 0.5])
    for name, value in mean.average.items():  # a bundle's weights are rounded to float16
        if name.startswith("backbone") and value.is_floating_point():
            np.testing.assert_allclose(value, other.average[name], atol=2e-3)
    theta, expected = mean.average["bank.raw_theta"], other.average["bank.raw_theta"]
    torch.testing.assert_close(theta, expected, atol=1e-3, rtol=0)
    with pytest.raises(NemoError, match=r"at least one .* checkpoint"):
        averaged([tmp_path / "car", tmp_path / "car"], [0.5, 0.5])
    shutil.copytree(tmp_path / "car", tmp_path / "van")  # a category below it changes nothing
    write_card(tmp_path / "van", card.model_copy(update={"category": "van"}))
    (tmp_path / "van").rename(tmp_path / "car" / "van")
    again = averaged([tmp_path / "car", parts[1]], [0.5, 0.5])
    assert again.average["bank.raw_theta"].equal(theta)


def test_what_does_not_fit_is_named(parts: tuple[Path, Path], tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other.pt", 0, vertices=300)
    with pytest.raises(NemoError, match=r"a\.pt: bank\.raw_theta is \(1.*, 16\), not \(2.*, 16\)"):
        averaged([parts[0], other], [1.0, 1.0])
    chair = Checkpoint.load(parts[0])
    config = chair.config.model_copy(update={"category": "chair"})
    replace(chair, config=config).save(tmp_path / "chair.pt")
    with pytest.raises(NemoError, match=r"chair\.pt: is of 'chair', not of 'car'"):
        averaged([tmp_path / "chair.pt", parts[1]], [1.0, 1.0])
    short = Checkpoint.load(parts[0])
    gone = next(iter(short.average))
    left = {name: value for name, value in short.average.items() if name != gone}
    replace(short, average=left).save(tmp_path / "short.pt")
    with pytest.raises(NemoError, match="another network"):
        averaged([tmp_path / "short.pt", parts[1]], [1.0, 1.0])
    for shares in ([1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]):
        with pytest.raises(NemoError, match="positive"):
            averaged(parts, shares)
    with pytest.raises(NemoError, match="no such checkpoint"):
        averaged([parts[0], tmp_path / "none.pt"], [1.0, 1.0])


def test_the_command_writes_a_checkpoint_once(
    parts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    point = EntryPoint("average", "nemo_model.commands.average", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    out = tmp_path / "new" / "mean.pt"
    words = ["average", *map(str, parts), "--shares", "0.4", "0.6", "--out", str(out)]
    assert cli.main(words) == 0
    expected = averaged(parts, [0.4, 0.6]).average
    found = Checkpoint.load(out).average
    assert all(found[name].equal(expected[name]) for name in found)
    assert cli.main(words) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["average", str(parts[0]), "--out", str(tmp_path / "x.pt")]) == 2
    assert "two or more" in capsys.readouterr().err
