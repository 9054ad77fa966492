# SPDX-License-Identifier: Apache-2.0
"""Systems by name: trained, resumed, saved, loaded and evaluated on the tiny set."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_set
from pascal3d_files import thing

from nemo_model.commands import evaluate as evaluate_command
from nemo_model.commands import train as train_command
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.evaluation.samples import Sample, from_pascal3d
from nemo_model.rivals import train as loop
from nemo_model.rivals.model import Rival
from nemo_model.rivals.train import CHECKPOINT
from nemo_model.systems import SYSTEMS, Run, model_folder, system
from nemo_model.training.loader import collate, sample_maker
from nemo_model.training.loss import Bank, Objective
from nemo_model.training.runs import KINDS, config_of

SETTINGS = ("width=64", "height=64", "features=16", "vertices=150", "picks=32", "clutter_cells=8")
STILL = tuple(
    f"augment.{name}=0"
    for name in ("flip", "box_jitter", "rough_box", "roll_deg", "cut", "photo_padding", "occluded",
                 "neighbour", "visible_box", "shrink", "blur", "noise", "jpeg", "colour")
)  # fmt: skip
RIVALS = ("res50-general", "starmap")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("rivals"))


def run_of(root: Path, name: str, **changes: Any) -> Run:
    plain = Run(name, root, root / "photos", split="train", steps=4, batch=2, settings=SETTINGS)
    return replace(plain, **changes)


def trained(run: Run, out: Path) -> Path:
    return system(run.system).train(run, out, 0, 1)


def samples(root: Path) -> list[Sample]:
    return from_pascal3d(Pascal3D(root, "car", split="train").objects)


@pytest.fixture(scope="module")
def folders(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each rival was trained for four steps."""
    out = tmp_path_factory.mktemp("trained")
    return {name: trained(run_of(root, name), out / name) for name in RIVALS}


# --- training


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_learns(
    root: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty small steps on the coloured cuboids lower the loss."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    run = run_of(root, name, steps=30, batch=4, settings=(*SETTINGS, *STILL, "warmup=3"))
    trained(run, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


def test_training_tells_seconds_and_samples(folders: dict[str, Path]) -> None:
    found = json.loads((folders["starmap"] / "training.json").read_text())
    assert (found["steps"], found["samples"]) == (4, 8)
    assert found["seconds"] > 0


@pytest.mark.parametrize("name", RIVALS)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    root: Path, folders: dict[str, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, done, step = run_of(root, name), [], loop._step
    monkeypatch.setattr(loop, "SAVE_EVERY", 2)

    def until(*arguments: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_step", until)
        with pytest.raises(KeyboardInterrupt):
            trained(run, tmp_path)
    first = json.loads((tmp_path / "training.json").read_text())
    assert first["steps"] == 2
    resumed = Rival.load(trained(run, tmp_path), name).network.state_dict()
    whole = Rival.load(folders[name], name).network.state_dict()
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=1e-6)
    assert json.loads((tmp_path / "training.json").read_text())["seconds"] > first["seconds"]


def test_a_folder_of_another_run_is_refused(
    root: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(folders["starmap"].parent / CHECKPOINT, tmp_path / CHECKPOINT)
    with pytest.raises(NemoError, match="is of the system 'starmap', not of 'res50-general'"):
        trained(run_of(root, "res50-general"), tmp_path)
    with pytest.raises(NemoError, match="was trained with another seed"):
        trained(run_of(root, "starmap", seed=1), tmp_path)
    with pytest.raises(NemoError, match="4 steps, more than the 3"):
        trained(run_of(root, "starmap", steps=3), tmp_path)
    (tmp_path / CHECKPOINT).write_text("nothing")
    with pytest.raises(NemoError, match="is not a checkpoint"):
        trained(run_of(root, "starmap"), tmp_path)


def test_rivals_see_the_pictures_that_nemo_sees(root: Path) -> None:
    config = config_of(run_of(root, "nemo"), "car")
    maker, _ = sample_maker(root, root / "photos", config)
    theirs = loop._Pictures([loop.Source(maker, lambda _: {})], config.seed, 0, 4)
    for k in range(4):
        np.testing.assert_array_equal(theirs[k]["image"], maker(k).image)


def test_categories_take_turns(root: Path) -> None:
    config = config_of(run_of(root, "nemo"), "car")
    maker, _ = sample_maker(root, root / "photos", config)
    sources = [loop.Source(maker, lambda _, k=k: {"which": np.array(k)}) for k in range(3)]
    pictures = loop._Pictures(sources, config.seed, 2, 7)
    assert [int(pictures[k]["which"]) for k in range(5)] == [2, 0, 1, 2, 0]


def with_buses(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny set with the same pictures once more as another category."""
    with monkeypatch.context() as patch:
        patch.setattr(training_set, "thing", lambda _, **fields: thing("bus", **fields))
        other = training_set.write(root / "other", 4)
    training_set.write(root, 4)
    for kind in ("Images", "Annotations"):
        shutil.move(other / kind / "car_stanford", root / kind / "bus_stanford")
    shutil.move(other / "CAD" / "car", root / "CAD" / "bus")
    lists = other / "Image_sets" / "car_stanford_train.txt"
    shutil.move(lists, root / "Image_sets" / "bus_stanford_train.txt")
    return root


def test_one_network_for_all_categories_or_one_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = with_buses(tmp_path / "data", monkeypatch)
    weights: dict[str, list[str]] = {}
    for name in ("res50-general", "res50-specific"):
        run = run_of(root, name, steps=1, categories=("car", "bus"))
        folder = trained(run, tmp_path / name)
        rivals = [Rival.load(model_folder(folder, c), name) for c in run.categories]
        assert [rival.card.category for rival in rivals] == ["car", "bus"]
        alone = name == "res50-specific"
        assert [rival.card.categories for rival in rivals] == (
            [("car",), ("bus",)] if alone else [("car", "bus")] * 2
        )
        assert (tmp_path / name / "bus" / CHECKPOINT).is_file() == alone
        weights[name] = [rival.digest for rival in rivals]
        estimator = system(name).load(model_folder(folder, "bus"), 1)
        assert estimator.metres_per_unit == pytest.approx(1.0)  # no length is known of buses
    # the buses are the cars' pictures: mixed or alone, every network trains to the same weights
    assert len({*weights["res50-general"], *weights["res50-specific"]}) == 1


# --- saved and loaded


@pytest.mark.parametrize("name", RIVALS)
def test_a_loaded_rival_estimates_the_same(
    root: Path, folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    shutil.copytree(folders[name], tmp_path / "copy")
    first, second = (system(name).load(f, 1) for f in (folders[name], tmp_path / "copy"))
    for sample in samples(root)[:3]:
        a, b = (e.estimate(sample.read_image(), sample.K, sample.box) for e in (first, second))
        np.testing.assert_array_equal(a.T_cam_obj, b.T_cam_obj)
        assert a.score == b.score
        assert 0.0 <= a.score_10 <= a.score <= 1.0
        assert a.T_cam_obj[2, 3] > 0


def test_a_model_of_another_system_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(NemoError, match="is a model of 'starmap', not of 'res50-general'"):
        system("res50-general").load(folders["starmap"], 1)
    with pytest.raises(NemoError, match=r"rival\.json: no such file"):
        system("starmap").load(tmp_path, 1)
    with pytest.raises(NemoError, match=r"card\.json: no such file"):
        system("nemo").load(folders["starmap"], 1)


def test_an_altered_rival_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folders["starmap"], copy)
    (copy / "weights.pt").write_bytes(b"other")
    with pytest.raises(NemoError, match=r"weights\.pt: does not belong"):
        system("starmap").load(copy, 1)
    (copy / "weights.pt").unlink()
    with pytest.raises(NemoError, match=r"weights\.pt: no such file"):
        system("starmap").load(copy, 1)
    card = json.loads((copy / "rival.json").read_text())
    del card["category"]
    (copy / "rival.json").write_text(json.dumps(card))
    with pytest.raises(NemoError, match=r"rival\.json: category: Field required"):
        system("starmap").load(copy, 1)


def test_an_unknown_system_or_backbone_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(NemoError, match=r"'yolo' is not known; choose one of nemo, .*starmap"):
        system("yolo")
    with pytest.raises(NemoError, match="backbone 'resnet50' is not known"):
        trained(run_of(root, "starmap", backbone="resnet50"), tmp_path)
    assert all(name == each.name for name, each in SYSTEMS.items())


# --- NeMo and its ablations


def test_the_ablations_leave_out_what_they_say(root: Path) -> None:
    """Of the loss: negatives, clutter, whole poses; the gradient tells."""
    maker, _ = sample_maker(root, root / "photos", config_of(run_of(root, "nemo"), "car"))
    batch = collate([maker(k) for k in range(4)])
    touched = {}
    for name, changes in KINDS.items():
        config = config_of(run_of(root, name), "car", **changes)
        torch.manual_seed(0)
        bank = Bank(len(maker.mesh.vertices), config.prototypes, 16)
        features = torch.nn.functional.normalize(torch.randn(4, 16, 8, 8), dim=1)
        objective = Objective(maker.mesh, config)
        objective.total(objective(features, bank, batch)).backward()
        grad = bank.raw_theta.grad
        assert grad is not None
        shown = set(batch.vertex[batch.vertex >= 0].tolist())
        moved = set(torch.nonzero(grad.abs().sum(dim=1))[:, 0].tolist())
        touched[name] = (moved - shown, len(bank.beta), objective.config.pose_weight)
    assert not touched["nemo-no-contrast"][0]  # vertices that are not seen stay where they are
    assert touched["nemo"][0]
    assert touched["nemo-no-clutter"][1] == 0
    assert touched["nemo"][1] == 16
    ranked = {name for name in KINDS if touched[name][2] > 0.0}
    assert set(KINDS) - ranked == {"nemo-no-contrast", "nemo-no-pose-term"}


def test_the_prior_and_silhouettes_are_of_the_systems_that_say_so(root: Path) -> None:
    configs = {name: config_of(run_of(root, name), "car", **KINDS[name]) for name in KINDS}
    with_prior = {name for name, config in configs.items() if config.context}
    strict = {name for name, config in configs.items() if config.silhouettes}
    assert with_prior == {"nemo-viewpoint"}
    assert strict == {"nemo-viewpoint", "nemo-silhouettes"}


def test_nemo_without_clutter_is_trained_and_runs(root: Path, tmp_path: Path) -> None:
    folder = trained(run_of(root, "nemo-no-clutter"), tmp_path)
    estimator: Any = system("nemo-no-clutter").load(folder, 1)
    assert estimator.bundle.clutter.shape == (0, 16)
    sample = samples(root)[0]
    estimate = estimator.estimate(sample.read_image(), sample.K, sample.box)
    # nothing but the object explains a cell: the energy is the sum of its cosines
    assert estimate.energy > 0
    assert estimate.solution is not None
    with pytest.raises(NemoError, match="of the system 'nemo-no-clutter', not of 'nemo'"):
        system("nemo").load(folder, 1)


def test_without_occluders_nothing_is_pasted(root: Path) -> None:
    config = config_of(run_of(root, "nemo", occluders=False), "car")
    assert (config.augment.occluded, config.augment.neighbour) == (0.0, 0.0)
    assert config_of(run_of(root, "nemo"), "car").augment.occluded > 0


# --- commands


def words(command: Any, *arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(a) for a in arguments])


def test_train_and_evaluate_by_name(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    common = ("--root", root, "--system", "res50-specific")
    train = (*common, "--backgrounds", root / "photos", "--out", out, "--split", "train",
             "--steps", 2, "--workers", 0, "--set", "batch=2", *SETTINGS)  # fmt: skip
    assert train_command.run(words(train_command, *train)) == 0
    assert f"--model {out / 'model'}" in capsys.readouterr().out
    with pytest.raises(NemoError, match="is not empty"):
        train_command.run(words(train_command, *train))
    result = tmp_path / "result.json"
    for protocol in ("robot", "paper"):
        measure = (*common, "--model", out / "model", "--split", "train", "--protocol", protocol,
                   "--json", result)  # fmt: skip
        assert evaluate_command.run(words(evaluate_command, *measure)) == 0
        document = json.loads(result.read_text())
        assert (document["system"], document["objects"]) == ("res50-specific", 8)
        assert document["failed"] == 0
        assert len(document["model"]["sha256"]) == 64
    with pytest.raises(NemoError, match="is a model of 'res50-specific', not of 'starmap'"):
        evaluate_command.run(words(evaluate_command, *measure, "--system", "starmap"))
    with pytest.raises(NemoError, match="--solver torch: is of nemo"):
        evaluate_command.run(words(evaluate_command, *measure, "--solver", "torch"))


def test_train_refuses_what_does_not_fit(root: Path, tmp_path: Path) -> None:
    common = ("--root", root, "--backgrounds", root / "photos", "--out", tmp_path)
    with pytest.raises(NemoError, match="'yolo' is not known"):
        train_command.run(words(train_command, *common, "--system", "yolo"))
    with pytest.raises(NemoError, match="--from: 'starmap'"):
        train_command.run(words(train_command, *common, "--system", "starmap", "--from", "m"))
    with pytest.raises(NemoError, match="--categories"):
        train_command.run(words(train_command, *common, "--categories", "car", "bus"))


def test_models_of_several_categories_lie_below(tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    assert model_folder(tmp_path, "bus") == tmp_path / "bus"
    assert model_folder(tmp_path, "car") == tmp_path
