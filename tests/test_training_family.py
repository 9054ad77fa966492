# SPDX-License-Identifier: Apache-2.0
"""One backbone for several categories: samples, loss, runs that go on, the folder, one more."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_set
import yaml

from nemo_model import cli
from nemo_model.bundle import BACKBONE, SHARED, Bundle
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.family import load_family
from nemo_model.mesh import cuboid, mean_outline
from nemo_model.training import train as loop
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.config import TrainConfig
from nemo_model.training.families.config import Family, read_family
from nemo_model.training.families.loss import FamilyObjective
from nemo_model.training.families.maker import FamilyMaker, joined, parted
from nemo_model.training.families.start import alike_features
from nemo_model.training.families.train import family_maker, train_family
from nemo_model.training.loss import Bank, Batch, Objective, apart
from nemo_model.training.parts import whole
from nemo_model.training.samples import Sample
from nemo_model.training.soup import averaged

CONFIG = training_set.config(steps=4, others=20)
SETTINGS = ["width=64", "height=64", "features=16", "context=24", "vertices=150", "prototypes=4",
            "picks=32", "clutter_cells=8", "batch=2"]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cars and vans, and a family's file."""
    root = training_set.write(tmp_path_factory.mktemp("family"))
    training_set.write(root, category="van", subtypes=2)
    size = {"length_m": 4.3, "sigma": 0.1, "source": "made up"}
    common = {"root": "made", "source": "stanford", "split": "train", "licence": "none"}
    members = [
        common | {"category": "car", "size": size, "weight": 3},
        common | {"category": "van", "size": size | {"length_m": 5.0}, "symmetry": 2},
    ]
    (root / "family.yaml").write_text(yaml.safe_dump({"categories": members}))
    return root


def family(root: Path) -> Family:
    return read_family(root / "family.yaml")


def run(root: Path, out: Path, config: TrainConfig = CONFIG, **options: Any) -> Path:
    return train_family(
        family(root), {"made": root}, root / "photos", out, config, workers=0, **options
    )


@pytest.fixture(scope="module")
def maker(root: Path) -> FamilyMaker:
    return family_maker(family(root), {"made": root}, root / "photos", CONFIG, quiet=True)


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("finished")
    run(root, out)
    return out


def command(name: str, *arguments: str) -> int:
    module = name.replace("-", "_")
    with pytest.MonkeyPatch.context() as patch:
        point = EntryPoint(name, f"nemo_model.commands.{module}", cli.GROUP)
        patch.setattr(cli, "entry_points", lambda group: [point])
        return cli.main([name, *arguments])


# --- samples


def test_a_sample_is_of_one_category_and_of_its_rows(maker: FamilyMaker) -> None:
    places = [maker.category(index) for index in range(400)]
    assert 0.68 < np.mean(np.array(places) == 0) < 0.82  # weights 3 and 1
    assert places == [maker.category(index) for index in range(400)]
    for index in (places.index(0), places.index(1)):
        sample: Sample = maker(index)
        place = places[index]
        low, high = maker.rows[place], maker.rows[place + 1]
        seen = sample.vertex[sample.vertex >= 0]
        assert len(seen)
        assert sample.part == place
        for rows in (seen, sample.corner):
            assert rows.min() >= low
            assert rows.max() < high


def test_sets_are_joined_and_parted(maker: FamilyMaker) -> None:
    first, second = parted(maker.meshes)
    assert (first.category, second.category) == ("car", "van")
    again = joined([first, second])
    assert [e.subtype for e in again.meshes] == [e.subtype for e in maker.meshes.meshes]
    assert maker.rows[-1] == len(again.joined()[0].vertices)


# --- loss


def tiny_batch(rows: np.ndarray, part: list[int]) -> Batch:
    B, N = rows.shape
    return Batch(
        image=torch.zeros(B, 32, 32, 3, dtype=torch.uint8),
        vertex=torch.from_numpy(rows),
        uv=torch.full((B, N, 2), 1.0),
        clutter=torch.zeros(B, 4, 4, dtype=torch.bool),
        corner=torch.zeros(B, 2, 4, 4, 3, dtype=torch.int64)
        + torch.from_numpy(rows)[:, :1, None, None, None].clamp(min=0),
        weight=torch.full((B, 2, 4, 4, 3), 1 / 3),
        part=torch.tensor(part),
    )


def vertex_loss(objective: Objective, bank: Bank, batch: Batch, features: torch.Tensor) -> float:
    torch.manual_seed(3)
    return float(objective(features, bank, batch).vertex)


def test_a_vertex_competes_with_those_of_other_categories_only() -> None:
    mesh = cuboid([-0.2, -0.4, -0.2], [0.2, 0.4, 0.2], 60)
    V = len(mesh.vertices)
    sets = [whole(name, mesh, mean_outline([mesh])) for name in ("car", "van")]
    config = training_set.config(others=10_000, prototypes=2)
    both = FamilyObjective(joined(sets), config, [config, config])
    alone = FamilyObjective(joined(sets), config.model_copy(update={"others": 0}), [config, config])
    bank = Bank(2 * V, 2, 16)
    features = torch.nn.functional.normalize(torch.randn(1, 16, 4, 4), dim=1)
    batch = tiny_batch(np.array([[5]]), [0])
    with torch.no_grad():
        before = vertex_loss(both, bank, batch, features)
        assert before > vertex_loss(alone, bank, batch, features)
        bank.raw_theta[V + 7] = features[0, :, 1, 1]  # a van's vertex that looks like it
        assert vertex_loss(both, bank, batch, features) > before + 0.1
        without = vertex_loss(alone, bank, batch, features)
        bank.raw_theta[V + 7] = -features[0, :, 1, 1]
        assert vertex_loss(alone, bank, batch, features) == without


def test_sub_types_of_a_category_do_not_compete(root: Path) -> None:
    mesh = cuboid([-0.2, -0.4, -0.2], [0.2, 0.4, 0.2], 60)
    one = whole("car", mesh, mean_outline([mesh]))
    first = type(one.meshes[0])(1, mesh, one.meshes[0].outline)
    second = type(one.meshes[0])(2, mesh, one.meshes[0].outline)
    sets = [type(one)("car", "cad", (first, second)), whole("van", mesh, mean_outline([mesh]))]
    config = training_set.config(others=10_000, prototypes=2)
    objective = FamilyObjective(joined(sets), config, [config, config])
    theta, beta = torch.randn(3 * len(mesh.vertices), 16), torch.randn(2, 16)
    V = len(mesh.vertices)
    for part in (0, 1):
        found = objective._elsewhere(theta, beta, part)
        assert len(found) == 2 + V
        assert {tuple(row.tolist()) for row in found[2:]} == {
            tuple(row.tolist()) for row in theta[2 * V :]
        }
    assert len(objective._elsewhere(theta, beta, 2)) == 2 + 2 * V


def test_the_draw_of_others_goes_by_the_step_and_takes_no_other_chance() -> None:
    mesh = cuboid([-0.2, -0.4, -0.2], [0.2, 0.4, 0.2], 60)
    sets = [whole(name, mesh, mean_outline([mesh])) for name in ("car", "van")]
    objective = FamilyObjective(joined(sets), CONFIG, [CONFIG, CONFIG])
    theta, beta = torch.randn(2 * len(mesh.vertices), 16), torch.randn(2, 16)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = objective._elsewhere(theta, beta, 0)
    assert torch.equal(torch.rand(3), expected)
    assert first.shape == (2 + CONFIG.others, 16)
    assert torch.equal(first, objective._elsewhere(theta, beta, 0))
    torch.manual_seed(6)
    assert not torch.equal(first, objective._elsewhere(theta, beta, 0))


@pytest.mark.parametrize(("symmetry", "far"), [(1, 2.0), (2, 0.0), (4, 0.0), (0, 0.0), (3, 1.0)])
def test_vertices_that_look_alike_are_near(symmetry: int, far: float) -> None:
    points = torch.tensor([[1.0, 0.0, 0.3], [-1.0, 0.0, 0.3], [1.0, 0.0, -0.7]])
    found = apart(points, symmetry)
    assert found[0, 1] == pytest.approx(far, abs=1e-3)
    assert found[0, 2] == pytest.approx(1.0, abs=1e-3)


# --- runs


def test_a_run_learns_all_categories_and_says_what_they_are(root: Path, finished: Path) -> None:
    saved = Checkpoint.load(finished / "checkpoint.pt")
    assert saved.step == 4
    assert saved.config.category == "car+van"
    assert Family.model_validate_json(saved.family) == family(root)
    rows = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(rows[0]["vertex"]) for _ in rows)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    root: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, done = loop._step, []

    def until(*arguments: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_step", until)
        with pytest.raises(KeyboardInterrupt):
            run(root, tmp_path, save_every=2)
    assert Checkpoint.load(tmp_path / "checkpoint.pt").step == 2
    run(root, tmp_path, resume=True)
    one = Checkpoint.load(finished / "checkpoint.pt")
    two = Checkpoint.load(tmp_path / "checkpoint.pt")
    assert all(torch.equal(value, two.average[name]) for name, value in one.average.items())


def test_a_checkpoint_of_one_category_is_not_gone_on_from(root: Path, tmp_path: Path) -> None:
    loop.train(root, root / "photos", tmp_path, training_set.config(steps=1), workers=0)
    with pytest.raises(NemoError, match="of one category, not of a family"):
        run(root, tmp_path, resume=True)


# --- the commands, and what they write


@pytest.fixture(scope="module")
def exported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `nemo train --family` leaves in out/model."""
    out = tmp_path_factory.mktemp("command")
    status = command(
        "train", "--family", str(root / "family.yaml"), "--roots", f"made={root}",
        "--backgrounds", str(root / "photos"), "--out", str(out), "--steps", "3", "--workers", "0",
        "--set", *SETTINGS,
    )  # fmt: skip
    assert status == 0
    return out / "model"


def test_the_family_is_written_with_one_backbone(exported: Path) -> None:
    assert len(list(exported.rglob(BACKBONE))) == 1
    car, van = load_family(exported)
    assert car.extractor is van.extractor
    assert (car.category, van.category) == ("car", "van")
    assert (car.symmetry.order, van.symmetry.order) == (1, 2)
    assert van.bundle.card.size.length_m == 5.0
    assert van.bundle.card.training["family"] == "car+van"
    assert van.bundle.card.data == "made: stanford, van, train"
    assert str(exported) not in (exported / "car" / "card.json").read_text()
    np.testing.assert_array_equal(car.bundle.clutter, van.bundle.clutter)
    assert not np.array_equal(car.bundle.features, van.bundle.features)


def test_export_writes_the_same_family_elsewhere(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = exported.parent / "checkpoint.pt"
    assert command("export", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "two")) == 0
    assert "sha256" in capsys.readouterr().out
    for category in ("car", "van"):
        one, two = Bundle.load(exported / category), Bundle.load(tmp_path / "two" / category)
        np.testing.assert_array_equal(one.features, two.features)
        assert two.card.name == f"two/{category}"


def test_a_family_has_a_mean_with_a_checkpoint_of_it(exported: Path) -> None:
    checkpoint = exported.parent / "checkpoint.pt"
    mean = averaged([exported, checkpoint], [0.5, 0.5])  # of the same weights
    model = Checkpoint.load(checkpoint)
    assert mean.family == model.family
    for name, value in mean.average.items():
        if name.startswith("bank."):
            expected = torch.nn.functional.normalize(model.average[name], dim=1)
            torch.testing.assert_close(value, expected, atol=1e-3, rtol=0)
    with pytest.raises(NemoError, match="is of 'car'"):
        averaged([exported / "car", checkpoint], [0.5, 0.5])


def test_a_family_goes_on_from_a_family(root: Path, exported: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 1, "average": 0.0})
    rates = {"trunk_rate": 0.0, "head_rate": 0.0, "bank_rate": 0.0, "weight_decay": 0.0}
    path = run(root, tmp_path, config.model_copy(update=rates), start=exported)
    theta = Checkpoint.load(path).average["bank.raw_theta"].numpy()
    expected = [Bundle.load(exported / name).features for name in ("car", "van")]
    np.testing.assert_array_equal(theta, np.concatenate(expected))


def test_another_category_is_added_and_the_others_stay_as_they_are(
    root: Path, exported: Path, tmp_path: Path
) -> None:
    import shutil

    training_set.write(root, category="bus")
    folder = tmp_path / "grown"
    shutil.copytree(exported, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    arguments = [
        "--family", str(folder), "--root", str(root), "--source", "stanford", "--split", "train",
        "--category", "bus", "--backgrounds", str(root / "photos"), "--out", str(tmp_path / "run"),
        "--steps", "3", "--workers", "0", "--licence", "none", "--length-m", "11",
        "--length-sigma", "0.1", "--set", "vertices=150", "picks=32", "clutter_cells=8", "batch=2",
    ]  # fmt: skip
    assert command("add-category", *arguments) == 0
    assert all(path.read_bytes() == data for path, data in before.items())
    bundle = Bundle.load(folder / "bus")
    assert bundle.card.backbone == SHARED
    assert bundle.card.size.length_m == 11.0
    saved = Checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    first = saved.resume["model"]["bank.raw_theta"][: len(Bundle.load(folder / "car").features)]
    np.testing.assert_array_equal(first.numpy(), Bundle.load(folder / "car").features)
    assert [one.category for one in load_family(folder)] == ["bus", "car", "van"]
    image = np.zeros((120, 160, 3), np.uint8)
    K = np.array([[300.0, 0, 80], [0, 300.0, 60], [0, 0, 1]])
    assert Estimator.load(folder / "bus").estimate(image, K, (20, 20, 120, 100)).category == "bus"
    assert command("add-category", *arguments) == 2  # it is there


# --- the file


def refused(tmp_path: Path, text: str, *words: str) -> None:
    path = tmp_path / "family.yaml"
    path.write_text(text)
    with pytest.raises(NemoError) as caught:
        read_family(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_wrong_file_is_refused_by_field(tmp_path: Path) -> None:
    one = "{category: car, root: a, source: stanford, licence: b"
    size = "size: {length_m: 4, sigma: 0.1, source: c}"
    refused(tmp_path, "categories: []", "categories")
    refused(tmp_path, "categories: [", "cannot be read")
    refused(tmp_path, f"categories: [{one}}}]", "car", "size")
    refused(tmp_path, f"categories: [{one}, weight: 0, {size}}}]", "categories.0.weight")
    refused(tmp_path, f"categories: [{one}, colour: red, {size}}}]", "categories.0.colour")
    refused(tmp_path, f"categories: [{one}, {size}}}, {one}, {size}}}]", "car", "twice")


def test_rendered_categories_have_the_sizes_of_their_models(tmp_path: Path) -> None:
    path = tmp_path / "family.yaml"
    path.write_text(
        "categories: [{category: diningtable, root: a, source: synth, licence: b},"
        " {category: chair, root: a, source: synth, licence: b, symmetry: 4}]"
    )
    table, chair = read_family(path).categories
    assert table.size is not None
    assert table.size.length_m == pytest.approx(0.835, abs=0.01)
    assert (table.symmetry, chair.symmetry) == (2, 4)


def test_a_root_that_is_not_bound_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(NemoError, match="--roots made=DIR"):
        train_family(family(root), {}, root / "photos", tmp_path, CONFIG)


def test_the_shipped_file_is_whole() -> None:
    path = Path(__file__).resolve().parents[1] / "config" / "household.yaml"
    found = read_family(path)
    assert found.name == "car+chair+aeroplane+sofa+diningtable"
    assert all(each.size is not None for each in found.categories)
    assert found.categories[4].symmetry == 2
    assert found.categories[0].config(CONFIG).left_out


def test_each_category_starts_smooth_with_waves_of_its_own() -> None:
    points = torch.from_numpy(cuboid([-0.2, -0.4, -0.2], [0.2, 0.4, 0.2], 200).vertices).float()
    torch.manual_seed(0)
    first, second = alike_features(points, 64, 1), alike_features(points, 64, 1)
    assert torch.allclose(first.norm(dim=1), torch.ones(len(points)))
    near = (torch.cdist(points, points) < 0.13) & ~torch.eye(len(points), dtype=torch.bool)
    assert (first @ first.T)[near].min() > 0.5
    assert (first * second).sum(dim=1).abs().mean() < 0.3


@pytest.mark.parametrize("symmetry", [2, 4, 0])
def test_what_looks_alike_starts_alike(symmetry: int) -> None:
    points = torch.tensor([[0.3, 0.1, 0.2], [-0.3, -0.1, 0.2], [0.3, 0.1, -0.2]])
    found = alike_features(points, 64, symmetry)
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert float(found[0] @ found[2]) < 0.9
