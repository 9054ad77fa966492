# SPDX-License-Identifier: Apache-2.0
"""Training several meshes: who trains which, mirrored photos, the loss, the bundle, resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import training_set

from nemo_model.bundle import Bundle
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.mesh import Mesh, cuboid, mean_outline
from nemo_model.meshes.make import make_meshes
from nemo_model.meshes.meshset import MeshSet, SubtypeMesh
from nemo_model.systems import Run, system
from nemo_model.training import train as loop
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.clock import training_seconds
from nemo_model.training.config import TrainConfig
from nemo_model.training.kinds import category_meshes
from nemo_model.training.loader import collate, sample_maker, with_mesh
from nemo_model.training.loss import Bank, Batch, Objective
from nemo_model.training.parts import MIRROR, Parts, whole
from nemo_model.training.samples import SampleMaker
from nemo_model.training.start import bundle_weights
from nemo_model.training.train import train

CONFIG = training_set.config(vertices=120, decay=0.0, **training_set.PAPER)
SETTINGS = {
    name: getattr(CONFIG, name)
    for name in ("width", "height", "features", "vertices", "prototypes", "picks", "clutter_cells",
                 "warmup", "decay")
}  # fmt: skip
"""What a Run has no field of its own for."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("meshes"), subtypes=2)


@pytest.fixture(scope="module")
def meshes(root: Path) -> MeshSet:
    return category_meshes(root, CONFIG, "multi-cuboid")


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps, exported to its folder `model`."""
    out = tmp_path_factory.mktemp("finished")
    run = Run(
        "nemo-multi-cuboid", root, root / "photos", split="train", steps=CONFIG.steps,
        batch=CONFIG.batch, settings=tuple(f"{k}={json.dumps(v)}" for k, v in SETTINGS.items()),
    )  # fmt: skip
    assert system("nemo-multi-cuboid").train(run, out, 0, 1) == out / "model"
    return out


def maker_of(root: Path, meshes: MeshSet | None, config: TrainConfig = CONFIG) -> SampleMaker:
    return sample_maker(root, root / "photos", config, meshes)[0]


# --- which mesh, and its mirror image


def wedge() -> Mesh:
    """A cuboid that is broader on one side: no mirror image of itself."""
    box = cuboid((-0.2, -0.4, -0.15), (0.2, 0.4, 0.15), 400)
    bent = box.vertices * [1.0, 1.0, 1.0]
    bent[:, 0] += 0.1 * (bent[:, 1] + 0.4) * (bent[:, 0] > 0)
    return Mesh(bent, box.faces)


def test_a_symmetric_mesh_is_its_own_mirror_image() -> None:
    mesh = tiny.mesh(200)
    outline = mean_outline([mesh])
    parts = Parts(whole("car", mesh, np.concatenate([outline, outline * MIRROR])))
    plain, mirrored = parts.shown(5, False), parts.shown(5, True)
    assert mirrored.mesh is plain.mesh
    assert mirrored.outline is plain.outline
    np.testing.assert_array_equal(mirrored.rows, np.arange(len(mesh.vertices)))


def test_a_mirrored_mesh_lies_where_the_mirrored_object_is() -> None:
    """Its vertices train those of the unmirrored mesh that are nearest, on the same side of it."""
    mesh = wedge()
    first = SubtypeMesh(1, tiny.mesh(200), mean_outline([tiny.mesh(200)]))
    parts = Parts(MeshSet("car", "cad", (first, SubtypeMesh(4, mesh, mean_outline([mesh])))))
    plain, shown = parts.shown(4, False), parts.shown(4, True)
    start = len(first.mesh.vertices)
    np.testing.assert_array_equal(plain.rows, start + np.arange(len(mesh.vertices)))
    np.testing.assert_allclose(shown.mesh.vertices, mesh.vertices * [-1, 1, 1])
    np.testing.assert_allclose(shown.outline, plain.outline * [-1, 1, 1])
    there = mesh.vertices[shown.rows - start]
    assert np.linalg.norm(there - shown.mesh.vertices, axis=1).max() < 0.1
    aside = np.abs(shown.mesh.vertices[:, 0]) > 0.15  # the same side: not the other wheel
    assert (np.sign(there[aside, 0]) == np.sign(shown.mesh.vertices[aside, 0])).all()
    volume = [
        np.einsum("ij,ij->i", m.vertices[m.faces[:, 0]],
                  np.cross(m.vertices[m.faces[:, 1]], m.vertices[m.faces[:, 2]])).sum() / 6
        for m in (mesh, shown.mesh)
    ]  # fmt: skip
    assert volume[0] == pytest.approx(volume[1])  # still wound outwards


def test_a_thin_part_keeps_its_two_sides_apart() -> None:
    plate = cuboid((-0.3, -0.3, 0.0), (0.28, 0.3, 0.012), 300)
    shown = Parts(MeshSet("car", "cad", (SubtypeMesh(1, plate, mean_outline([plate])),))).shown(
        1, True
    )
    middle = np.abs(plate.vertices[:, :2]).max(axis=1) < 0.2
    top = plate.vertices[:, 2] > 0.006
    np.testing.assert_array_equal(top[shown.rows[middle]], top[middle])


def test_each_photo_trains_the_mesh_of_its_sub_type(root: Path, meshes: MeshSet) -> None:
    maker = maker_of(root, meshes)
    starts = maker.parts.starts
    parts = set()
    for k in range(12):
        sample = maker(k)
        low, high = starts[sample.part], starts[sample.part + 1]
        parts.add(sample.part)
        seen = sample.vertex[sample.vertex >= 0]
        assert len(seen)
        assert ((seen >= low) & (seen < high)).all()
        assert ((sample.corner >= low) & (sample.corner < high)).all()
    assert parts == {0, 1}


def test_rare_sub_types_are_drawn_more_often_than_they_are_photographed(
    root: Path, meshes: MeshSet
) -> None:
    def share(balance: float) -> float:
        maker = maker_of(root, meshes, CONFIG.model_copy(update={"subtype_balance": balance}))
        maker.objects = maker.objects[:1] + [o for o in maker.objects if o.cad_index == 2]
        again = SampleMaker(
            maker.objects, maker.images, maker.cads, maker.mesh, maker.outline, maker.photos,
            maker.config, maker.parts,
        )  # fmt: skip
        return float(again.probability[0])

    shares = [share(balance) for balance in (0.0, 0.5, 1.0)]
    assert shares == sorted(shares)
    assert shares[2] > 1.5 * shares[0]


def test_photos_without_a_mesh_and_meshes_without_a_photo_are_left_out(
    root: Path, meshes: MeshSet
) -> None:
    first = meshes.meshes[0]
    other = replace(first, subtype=9)
    maker = maker_of(root, replace(meshes, meshes=(first, other)))
    assert {item.cad_index for item in maker.objects} == {1}
    assert [each.subtype for each in maker.parts.meshes.meshes] == [1]
    with pytest.raises(NemoError, match="of sub-types 9, but no photo is annotated"):
        maker_of(root, replace(meshes, meshes=(other,)))


# --- the loss


def test_meshes_of_single_models_are_not_those_of_stretched_ones(
    root: Path, meshes: MeshSet
) -> None:
    objects = list(Pascal3D(root, "car", "stanford", "train"))
    long = [replace(item, stretch=(1.0, 1.2, 1.0)) for item in objects]
    with pytest.raises(NemoError, match="stretched models"):
        with_mesh(long, meshes)
    cuboid_of_all = maker_of(root, None).meshes
    assert with_mesh(long, cuboid_of_all)[0] == long


def test_one_sub_type_alone_has_the_loss_of_one_mesh(root: Path, meshes: MeshSet) -> None:
    """A batch of one sub-type, with both in the bank: as if the other one were not there."""
    maker = maker_of(root, meshes)
    samples = [s for s in (maker(k) for k in range(20)) if s.part == 1][:3]
    batch = collate(samples)
    torch.manual_seed(0)
    start, end = (int(n) for n in maker.parts.starts[1:])
    bank, alone = Bank(end, 4, 16), Bank(end - start, 4, 16)
    alone.load_state_dict({
        "raw_theta": bank.raw_theta.detach()[start:], "raw_beta": bank.raw_beta.detach()
    })  # fmt: skip
    features = torch.nn.functional.normalize(torch.randn(3, 16, 8, 8), dim=1)
    own = replace(
        batch, vertex=torch.where(batch.vertex < 0, batch.vertex, batch.vertex - start),
        corner=batch.corner - start,
    )  # fmt: skip
    both = Objective(meshes, CONFIG)(features, bank, batch)
    one = Objective(meshes.meshes[1].mesh, CONFIG)(features, alone, own)
    for name in ("vertex", "pose", "vertex_right", "pose_right"):
        torch.testing.assert_close(getattr(both, name), getattr(one, name))


def test_the_terms_of_a_mixed_batch_are_means_over_it(root: Path, meshes: MeshSet) -> None:
    maker = maker_of(root, meshes)
    samples = [maker(k) for k in range(6)]
    assert len({s.part for s in samples}) == 2
    torch.manual_seed(0)
    bank, of = Bank(int(maker.parts.starts[-1]), 4, 16), Objective(meshes, CONFIG)
    features = torch.nn.functional.normalize(torch.randn(6, 16, 8, 8), dim=1)
    whole_batch = of(features, bank, collate(samples))
    single = [of(features[k : k + 1], bank, collate([s])) for k, s in enumerate(samples)]
    seen = torch.tensor([(s.vertex >= 0).sum() for s in samples]).float()
    pose = torch.stack([each.pose for each in single]).mean()
    vertex = (torch.stack([each.vertex for each in single]) * seen).sum() / seen.sum()
    torch.testing.assert_close(whole_batch.pose, pose)
    torch.testing.assert_close(whole_batch.vertex, vertex)


def test_vertices_of_other_sub_types_do_not_compete(root: Path, meshes: MeshSet) -> None:
    """The other mesh's vertices may look as this one's do, at no cost."""
    maker = maker_of(root, meshes)
    batch = collate([next(s for s in (maker(k) for k in range(20)) if s.part == 0)])
    start, end = (int(n) for n in maker.parts.starts[1:])
    torch.manual_seed(0)
    bank, of = Bank(end, 4, 16), Objective(meshes, CONFIG)
    features = torch.nn.functional.normalize(torch.randn(1, 16, 8, 8), dim=1)
    before = of(features, bank, batch)
    with torch.no_grad():
        bank.raw_theta[start:] = bank.raw_theta[:start].mean(dim=0)
    after = of(features, bank, batch)
    assert after.vertex == before.vertex
    assert after.pose == before.pose
    assert after.clutter != before.clutter  # but clutter is held off every mesh


def test_two_alike_meshes_have_the_clutter_loss_of_one() -> None:
    mesh = tiny.mesh(100)
    outline = mean_outline([mesh])
    two = MeshSet("car", "cad", (SubtypeMesh(1, mesh, outline), SubtypeMesh(2, mesh, outline)))
    torch.manual_seed(0)
    one = Bank(len(mesh.vertices), 4, 16)
    bank = Bank(2 * len(mesh.vertices), 4, 16)
    with torch.no_grad():
        bank.raw_theta.copy_(one.raw_theta.repeat(2, 1))
        bank.raw_beta.copy_(one.raw_beta)
    features = torch.nn.functional.normalize(torch.randn(1, 16, 4, 4), dim=1)
    nothing = torch.zeros(1, 1, 4, 4, 3)
    batch = Batch(
        torch.zeros(1, 32, 32, 3, dtype=torch.uint8), torch.full((1, 1), -1), torch.zeros(1, 1, 2),
        torch.ones(1, 4, 4, dtype=torch.bool), nothing.long(), nothing, torch.zeros(1).long(),
    )  # fmt: skip
    every = CONFIG.model_copy(update={"clutter_cells": 16})
    found = Objective(two, every)(features, bank, batch).clutter
    torch.testing.assert_close(found, Objective(mesh, every)(features, one, batch).clutter)


# --- runs


def test_one_mesh_trains_as_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of four steps: a change to data, start or loss shows, and is to be meant."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    root = training_set.write(tmp_path / "set")
    config = training_set.config(**training_set.PAPER)
    train(root, root / "photos", tmp_path / "out", config, workers=0)
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    found = [[row[name] for name in ("vertex", "clutter", "pose")] for row in rows]
    noted = [
        [7.0096, 4.0564, 2.1945], [6.0368, 3.2490, 1.9704],
        [7.1677, 1.9750, 2.3170], [6.6582, 1.1534, 2.1632],
    ]  # fmt: skip
    np.testing.assert_allclose(found, noted, rtol=1e-3)


def test_the_bundle_holds_the_meshes_and_their_features(finished: Path, meshes: MeshSet) -> None:
    bundle = Bundle.load(finished / "model")
    saved = Checkpoint.load(finished / "checkpoint.pt")
    assert [each.subtype for each in bundle.meshes] == [1, 2]
    assert bundle.card.training["system"] == "nemo-multi-cuboid"
    assert training_seconds(bundle.folder) > 0
    theta = torch.nn.functional.normalize(saved.average["bank.raw_theta"], dim=1).numpy()
    rows = [each.features for each in bundle.meshes]
    np.testing.assert_allclose(np.concatenate(rows), theta, atol=1e-6)
    for found, made in zip(bundle.meshes, meshes.meshes, strict=True):
        np.testing.assert_allclose(found.mesh.vertices, made.mesh.vertices, atol=1e-6)
        np.testing.assert_allclose(found.outline, made.outline, atol=1e-6)
    assert len(Estimator.load(finished / "model").variants) == 2


def test_every_sub_type_learns(root: Path, finished: Path) -> None:
    saved = Checkpoint.load(finished / "checkpoint.pt")
    torch.manual_seed(CONFIG.seed)
    fresh, *_ = loop._prepare(saved.meshes, CONFIG, torch.device("cpu"), None)
    before = fresh.bank.raw_theta.detach()
    moved = (saved.resume["model"]["bank.raw_theta"] - before).abs().amax(dim=1) > 0
    starts = np.cumsum([len(each.mesh.vertices) for each in saved.meshes.meshes])
    assert all(part.any() for part in moved.split([starts[0], starts[1] - starts[0]]))


def test_an_interrupted_run_goes_on(
    root: Path, finished: Path, meshes: MeshSet, tmp_path: Path
) -> None:
    half = CONFIG.model_copy(update={"steps": 2})
    for config in (half, CONFIG):
        path = train(
            root, root / "photos", tmp_path, config, workers=0, resume=True,
            meshes=MeshSet.load(finished / "meshes.npz"),
        )  # fmt: skip
    one, two = Checkpoint.load(finished / "checkpoint.pt"), Checkpoint.load(path)
    assert two.step == 4
    assert [each.subtype for each in two.meshes.meshes] == [1, 2]
    for name, value in one.average.items():
        torch.testing.assert_close(two.average[name], value, rtol=0, atol=1e-6)


def test_a_checkpoint_of_other_sub_types_is_refused(
    root: Path, finished: Path, meshes: MeshSet
) -> None:
    options = {"workers": 0, "resume": True}
    with pytest.raises(NemoError, match="stand for other sub-types"):
        train(root, root / "photos", finished, CONFIG, **options)
    with pytest.raises(NemoError, match="another number of vertices"):
        train(
            root, root / "photos", finished, CONFIG, **options,
            meshes=make_meshes({1: tiny.mesh(200), 2: tiny.mesh(200)}, "car", "multi-cuboid", 200),
        )  # fmt: skip
    with pytest.raises(NemoError, match="meshes: of 'bus', but 'car' is trained"):
        train(root, root / "photos", finished, CONFIG, meshes=replace(meshes, category="bus"))


def test_meshes_start_from_a_bundle_of_one(root: Path, finished: Path, meshes: MeshSet) -> None:
    """Each vertex takes the feature of the corresponding place; its own sub-type's where known."""
    again = bundle_weights(finished / "model", meshes)["bank.raw_theta"].numpy()
    known = np.concatenate([each.features for each in Bundle.load(finished / "model").meshes])
    np.testing.assert_array_equal(again, known)
    third = SubtypeMesh(3, Mesh(meshes.meshes[0].mesh.vertices * [1.1, 0.9, 2.0] + 0.1,
                                meshes.meshes[0].mesh.faces), meshes.meshes[0].outline)  # fmt: skip
    other = bundle_weights(finished / "model", MeshSet("car", "cad", (third,)))["bank.raw_theta"]
    np.testing.assert_array_equal(other.numpy(), known[: len(third.mesh.vertices)])
