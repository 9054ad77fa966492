# SPDX-License-Identifier: Apache-2.0
"""Training samples: the same by seed and number, and their targets agree with the geometry."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import training_set
from pascal3d_files import thing, write_object, write_set

from nemo_model.camera import Camera, CropCamera, crop_camera
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh, load_off
from nemo_model.pose import transform
from nemo_model.raster import silhouette
from nemo_model.synth.record import write_off
from nemo_model.training.config import AugmentConfig, TrainConfig
from nemo_model.training.loader import batches, collate, load_photos, sample_maker
from nemo_model.training.rivals import RIVALS
from nemo_model.training.samples import (
    Sample,
    SampleMaker,
    view_weights,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_set.write(tmp_path_factory.mktemp("samples"))


def maker_of(root: Path, config: TrainConfig) -> SampleMaker:
    return sample_maker(root, root / "photos", config)[0]


def plain(root: Path, **augment: object) -> SampleMaker:
    """A maker without augmentation but for what is asked for, 192 x 128 crops."""
    changed = training_set.PLAIN.model_copy(update=augment)
    config = training_set.config(
        width=192, height=128, picks=128, augment=changed, **training_set.PAPER
    )
    return maker_of(root, config)


def geometry(maker: SampleMaker, at: int) -> tuple[CropCamera, np.ndarray]:
    """The crop camera and T_crop_obj of an object, without augmentation."""
    item = maker.objects[at]
    crop = crop_camera(Camera(item.K, *training_set.SIZE), item.box, 192, 128, 0.86)
    return crop, transform(crop.R_crop_cam, np.zeros(3)) @ item.T_cam_obj


def same(a: Sample, b: Sample) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Sample))


# --- by seed and number


def test_a_sample_depends_on_seed_and_number_alone(root: Path) -> None:
    config = training_set.config()
    maker = maker_of(root, config)
    first = [maker(k) for k in range(6)]
    assert all(same(maker(k), first[k]) for k in (5, 0, 3))  # in any order
    again = maker_of(root, config)
    assert same(again(4), first[4])  # in another process
    assert not np.array_equal(first[0].image, first[1].image)
    other = maker_of(root, config.model_copy(update={"seed": 1}))
    assert not np.array_equal(other(0).image, first[0].image)


def test_an_easy_start_spoils_ever_more(root: Path) -> None:
    augment = training_set.PLAIN.model_copy(update={"occluded": 1.0, "hidden_share": (0.1, 0.7)})
    hard, _ = sample_maker(root, root / "photos", training_set.config(augment=augment))
    easy, _ = sample_maker(root, root / "photos", training_set.config(augment=augment, ease=4))
    plain, _ = sample_maker(root, root / "photos", training_set.config(augment=training_set.PLAIN))
    assert np.array_equal(easy(0).image, plain(0).image)  # step 0 of 4
    assert easy.eased(4).config.augment.occluded == 0.5  # step 2: batches of two
    assert easy.eased(4).config.augment.hidden_share == pytest.approx((0.1, 0.4))
    assert np.array_equal(easy(8).image, hard(8).image)  # step 4
    assert not np.array_equal(hard(0).image, plain(0).image)


def test_batches_begin_where_a_resumed_run_does(root: Path) -> None:
    config = training_set.config()
    maker = maker_of(root, config)
    whole = list(batches(maker, config, 0, workers=0))
    rest = list(batches(maker, config, 3, workers=0))
    assert (len(whole), len(rest)) == (4, 1)
    expected = collate([maker(6), maker(7)])
    for found in (whole[3], rest[0]):
        for name, value in vars(expected).items():
            assert getattr(found, name).equal(value), name


def test_loader_processes_give_the_same_batches(root: Path) -> None:
    config = training_set.config(steps=2)
    maker = maker_of(root, config)
    alone = list(batches(maker, config, 0, workers=0))
    helped = list(batches(maker, config, 0, workers=2))
    assert len(helped) == 2
    for a, b in zip(alone, helped, strict=True):
        assert a.image.equal(b.image)
        assert a.uv.equal(b.uv)


def test_shapes_and_types(root: Path) -> None:
    sample = maker_of(root, training_set.config())(0)
    found = {f.name: getattr(sample, f.name) for f in fields(Sample)}
    assert found.pop("part") == 0
    assert {name: (value.shape, value.dtype.name) for name, value in found.items()} == {
        "image": ((64, 64, 3), "uint8"),
        "vertex": ((32,), "int64"),
        "uv": ((32, 2), "float32"),
        "clutter": ((8, 8), "bool"),
        "corner": ((1 + RIVALS, 8, 8, 3), "int64"),
        "weight": ((1 + RIVALS, 8, 8, 3), "float32"),
        "angles": ((3,), "float32"),
    }


def test_beside_the_silhouette_the_mesh_is_clutter(tmp_path: Path) -> None:
    """Of two CAD models one is lower than their common cuboid: above its roof one sees past it."""
    root = training_set.write(tmp_path, subtypes=2)
    size = {"width": 192, "height": 128, "picks": 400, "augment": training_set.PLAIN}
    strict, lax = (
        maker_of(root, training_set.config(silhouettes=on, **size)) for on in (True, False)
    )
    tall, low = [], []
    for index in range(12):
        one, other = strict(index), lax(index)
        covered = one.weight[0].sum(axis=2) > 0
        assert np.array_equal(other.clutter, ~covered)
        assert set(one.vertex[one.vertex >= 0]) <= set(other.vertex[other.vertex >= 0])
        past = (one.clutter & covered).sum() / covered.sum()
        (low if strict.objects[_object_of(strict, index)].cad_index == 2 else tall).append(past)
    assert np.mean(low) > 0.03
    assert np.mean(low) > 2.0 * np.mean(tall)


# --- the targets


@pytest.mark.parametrize("index", range(4))
def test_targets_agree_with_projecting_the_mesh(root: Path, index: int) -> None:
    maker = plain(root)
    sample = maker(index)
    at = _object_of(maker, index)
    crop, T = geometry(maker, at)
    np.testing.assert_array_equal(sample.image, crop.warp(maker.images[at]))
    points = maker.mesh.vertices @ T[:3, :3].T + T[:3, 3]
    uvw = points @ crop.map_K().T
    projected = uvw[:, :2] / uvw[:, 2:]
    shown = sample.vertex >= 0
    assert shown.sum() > 20
    assert len(set(sample.vertex[shown])) == shown.sum()
    np.testing.assert_allclose(sample.uv[shown], projected[sample.vertex[shown]], atol=1e-4)
    # each covered cell sees the surface point whose weights it holds
    weight, corner = sample.weight[0], sample.corner[0]
    covered = weight.sum(axis=2) > 0
    surface = np.einsum("nk,nkd->nd", weight[covered], points[corner[covered]])
    seen = surface @ crop.map_K().T
    i, j = np.nonzero(covered)
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], np.stack([j, i], axis=1), atol=1e-3)
    np.testing.assert_array_equal(sample.clutter, ~covered)
    assert 0.2 < covered.mean() < 0.9


def _object_of(maker: SampleMaker, index: int) -> int:
    """Which object sample `index` shows, found by its image."""
    image = maker(index).image
    for at, item in enumerate(maker.objects):
        crop = crop_camera(Camera(item.K, *training_set.SIZE), item.box, 192, 128, 0.86)
        if np.array_equal(crop.warp(maker.images[at]), image):
            return at
    raise AssertionError("the crop shows none of the photos")


def test_the_targets_lie_on_the_picture(root: Path) -> None:
    """The cuboid's picture is coloured, the wall is grey: covered cells are the coloured ones."""
    maker = plain(root)
    for index in range(3):
        sample = maker(index)
        coloured = np.abs(sample.image.astype(float) - 128).max(axis=2) > 40
        cells = coloured[7::8, 7::8]
        assert (cells == ~sample.clutter).mean() > 0.97
        shown = sample.vertex >= 0
        pixel = np.clip(np.round(8 * sample.uv[shown] + 7).astype(int), 0, [191, 127])
        near = cv2.dilate(coloured.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert near[pixel[:, 1], pixel[:, 0]].mean() > 0.95


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_silhouette_is_that_of_the_stretched_model(root: Path) -> None:
    straight, long = plain(root), plain(root)
    long.objects = [replace(item, stretch=(1.0, 0.5, 1.0)) for item in long.objects]
    for at in range(3):
        a, b = (m._picture(at, np.random.default_rng(0)).shape for m in (straight, long))
        crop, T = geometry(straight, at)
        cad = straight.cads[straight.objects[at].cad_index]
        half = Mesh(cad.vertices * [1.0, 0.5, 1.0], cad.faces)
        np.testing.assert_array_equal(b, silhouette(half, T, crop.K, 192, 128))
        assert b.sum() < a.sum()


def test_the_silhouette_of_a_mirrored_photo_is_that_of_the_mirrored_model(tmp_path: Path) -> None:
    """Of a model that is not its own mirror image, as an L-shaped sofa."""
    root = training_set.write(tmp_path)
    path = root / "CAD" / "car" / "01.off"
    cad = load_off(path)
    bent = cad.vertices.copy()
    bent[bent[:, 0] > 0.0, 2] *= 0.3
    write_off(path, Mesh(bent, cad.faces))
    straight, mirrored = plain(root), plain(root, flip=1.0)
    for at in (0, 4):  # of front and rear
        a, b = (m._picture(at, np.random.default_rng(0)).shape for m in (straight, mirrored))
        assert overlap(a[:, ::-1], b) > 0.95
        assert overlap(a, b) < 0.85


def test_a_mirrored_sample_is_the_mirror_image(root: Path) -> None:
    """Image, covered cells and vertices, each with the vertex at -x in its place."""
    straight, mirrored = plain(root), plain(root, flip=1.0)
    mesh = straight.mesh
    partner = np.array([
        np.linalg.norm(mesh.vertices - vertex * [-1, 1, 1], axis=1).argmin()
        for vertex in mesh.vertices
    ])  # fmt: skip
    np.testing.assert_allclose(mesh.vertices[partner], mesh.vertices * [-1, 1, 1], atol=1e-9)
    for index in range(3):
        a, b = straight(index), mirrored(index)
        assert np.abs(a.image[:, ::-1].astype(int) - b.image).mean() < 1.0
        at = _object_of(straight, index)
        crop, T = geometry(straight, at)
        uvw = (mesh.vertices @ T[:3, :3].T + T[:3, 3]) @ crop.K.T
        u = 191 - uvw[:, 0] / uvw[:, 2]
        shown = b.vertex >= 0
        np.testing.assert_allclose(8 * b.uv[shown, 0] + 7, u[partner[b.vertex[shown]]], atol=1e-2)


@pytest.mark.parametrize("edge", range(80, 104, 2))
def test_what_is_hidden_is_clutter_where_the_cells_are(root: Path, edge: int) -> None:
    """Pixels right of an edge are hidden: cells centred (8 j + 7) beyond it are clutter."""
    maker = plain(root)
    crop, T = geometry(maker, 0)
    image, rng = np.zeros((128, 192, 3), np.uint8), np.random.default_rng(0)
    hidden = np.zeros((128, 192), dtype=bool)
    bare = maker._targets(
        image, crop, T, hidden, True, maker.parts.shown(0, False), np.random.default_rng(0)
    )
    hidden[:, edge:] = True
    sample = maker._targets(image, crop, T, hidden, True, maker.parts.shown(0, False), rng)
    centre = 8 * np.arange(24) + 7
    assert sample.clutter[:, centre >= edge + 2].all()
    free = centre <= edge - 3
    np.testing.assert_array_equal(sample.clutter[:, free], bare.clutter[:, free])
    shown = sample.vertex >= 0
    assert shown.any()
    assert (8 * sample.uv[shown, 0] + 7 < edge + 0.5).all()


def test_when_all_is_hidden_nothing_is_shown(root: Path) -> None:
    maker = plain(root)
    crop, T = geometry(maker, 0)
    hidden = np.ones((128, 192), dtype=bool)
    image = np.zeros((128, 192, 3), np.uint8)
    sample = maker._targets(
        image, crop, T, hidden, True, maker.parts.shown(0, False), np.random.default_rng(0)
    )
    assert (sample.vertex == -1).all()
    assert sample.clutter.all()
    assert sample.weight[0].any()  # the pose is still what it is


def test_everything_at_once_gives_sound_samples(root: Path) -> None:
    """All augmentations on: no NaN, uv inside the map, weights sum to 0 or 1."""
    everything = AugmentConfig(
        flip=0.5, rough_box=0.5, cut=0.5, occluded=1, neighbour=1, shrink=1, blur=1, noise=1, jpeg=1
    )
    maker = maker_of(root, training_set.config(augment=everything))
    for index in range(12):
        sample = maker(index)
        shown = sample.vertex >= 0
        assert (sample.uv[shown] >= -0.5).all()
        assert (sample.uv[shown] <= 7.5).all()
        total = sample.weight.sum(axis=3)
        np.testing.assert_allclose(total[total > 0], 1.0, atol=1e-5)
        assert sample.corner.max() < len(maker.mesh.vertices)
        assert sample.image.std() > 3


def test_a_cut_object_ends_in_grey(root: Path) -> None:
    """Where an image's edge cuts the object the crop shows what lies outside: mid grey, clutter."""
    maker = plain(root, cut=1.0)
    cut = 0
    for index in range(8):
        sample = maker(index)
        grey = (sample.image == 128).all(axis=2)
        cut += grey.mean() > 0.05
        all_grey = cv2.erode(grey.astype(np.uint8), np.ones((9, 9), np.uint8))[7::8, 7::8] > 0
        assert sample.clutter[all_grey].all()
    assert cut >= 6


# --- which views are drawn


def uneven(count: int = 500) -> np.ndarray:
    """Azimuths that lean to the front, as photos of cars do."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0.3, 0.4, count), rng.uniform(0, 2 * np.pi, count // 5)])


def share_by_bin(azimuth: np.ndarray, weight: np.ndarray, bins: int) -> np.ndarray:
    folded = np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi)
    at = np.minimum(folded / (np.pi / (bins // 2)), bins // 2 - 1).astype(int)
    return np.bincount(at, weights=weight, minlength=bins // 2)


def test_full_balance_draws_every_azimuth_as_often() -> None:
    azimuth = uneven()
    weight = view_weights(azimuth, 24, 1.0)
    assert weight.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(share_by_bin(azimuth, weight, 24), 1 / 12)


def test_no_balance_draws_every_photo_as_often() -> None:
    np.testing.assert_allclose(view_weights(uneven(), 24, 0.0), 1 / 600)


def test_partial_balance_lies_between() -> None:
    azimuth = uneven()
    spread = [np.ptp(share_by_bin(azimuth, view_weights(azimuth, 24, b), 24)) for b in (0, 0.5, 1)]
    assert spread[0] > 1.5 * spread[1] > spread[2]


def test_left_and_right_count_as_one_since_photos_are_mirrored() -> None:
    """Two photos at +90 degrees and one at -90 share a bin; one at 0 has its own."""
    weight = view_weights(np.radians([95.0, 95.0, -95.0, 5.0]), 24, 1.0)
    np.testing.assert_allclose(weight, [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    turned = view_weights(np.radians([95.0 + 360, 95.0 - 360, 265.0, 5.0]), 24, 1.0)
    np.testing.assert_allclose(turned, weight)


def test_balanced_draws_follow_the_weights(root: Path) -> None:
    maker = plain(root)
    draws = Counter(_object_of(maker, index) for index in range(60))
    assert len(draws) == len(maker.objects)


# --- reading


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no photo")
    with pytest.raises(NemoError, match=str(tmp_path)):
        load_photos(tmp_path)


def test_big_photos_are_reduced_and_rgb(tmp_path: Path) -> None:
    bgr = np.zeros((300, 900, 3), np.uint8)
    bgr[..., 2] = 250  # red
    cv2.imwrite(str(tmp_path / "big.png"), bgr)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (photo,) = load_photos(tmp_path)
    assert max(photo.shape) == 400
    assert photo[0, 0].tolist() == [250, 0, 0]


def test_the_cuboid_is_the_cads_mirrored_mean(root: Path) -> None:
    maker, outline = sample_maker(root, root / "photos", training_set.config())
    np.testing.assert_allclose(maker.mesh.extent, [0.4, 0.86, 0.32], atol=1e-6)
    np.testing.assert_allclose(maker.mesh.lo[0], -maker.mesh.hi[0])
    assert outline.shape == (400, 3)
    np.testing.assert_allclose(outline[200:], outline[:200] * [-1, 1, 1])


def test_objects_without_a_cad_model_are_refused(tmp_path: Path) -> None:
    write_object(tmp_path, "a", [thing(cad_index=None)], suffix=".png", imgsize=[160, 120, 3])
    write_set(tmp_path, "train", ["a"])
    with pytest.raises(NemoError, match="names a CAD model"):
        sample_maker(tmp_path, tmp_path, training_set.config())
