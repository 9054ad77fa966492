# SPDX-License-Identifier: Apache-2.0
"""Sets that `nemo synth render` writes: poses that fit the pictures, bytes, resuming, errors."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import synth_files

from nemo_model import cli
from nemo_model.commands import occlude, synth
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.raster import silhouette
from nemo_model.synth import build as building
from nemo_model.synth import record
from nemo_model.synth.build import Settings, build, chosen
from nemo_model.synth.catalogue import Entry
from nemo_model.synth.scene import Ranges, draw_stretch
from nemo_model.synth.sheet import cell, sheet
from nemo_model.synth.store import stored_model

SMALL = Ranges(longest=128)
Cache = tuple[Path, list[Entry]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("cache")
    return folder, synth_files.write_cache(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(3):
        small = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{k}.png"), cv2.resize(small, (160, 120)))
    return folder


@pytest.fixture(scope="module")
def root(cache: Cache, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training and six validation images."""
    folder = tmp_path_factory.mktemp("root")
    for split, count in (("train", 12), ("val", 6)):
        settings = Settings("chair", split, ranges=SMALL)
        build(cache[1], settings, count, cache[0], folder, [photos])
    return folder


def mask_of(root: Path, name: str) -> np.ndarray:
    image = cv2.imread(str(root / "Masks/chair_synth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    return np.asarray(image) > 127


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_annotated_pose_draws_the_mask_that_was_rendered(root, split):
    dataset = Pascal3D(root, "chair", "synth", split)
    assert len(dataset) == {"train": 12, "val": 6}[split]
    for item in dataset:
        mask = mask_of(root, item.name)
        height, width = mask.shape
        assert item.size == (width, height) == item.read_image().shape[1::-1]
        cad = dataset.cad(item.cad_index)
        drawn = silhouette(cad, item.T_cam_obj, item.K, width, height)
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.9
        points = cad.vertices @ item.T_cam_obj[:3, :3].T + item.T_cam_obj[:3, 3]
        uv = (points @ item.K.T)[:, :2] / points[:, 2:]
        box = np.clip([*uv.min(0), *uv.max(0)], 0, np.array([width, height] * 2) - 1.0)
        np.testing.assert_allclose(item.box, box, atol=0.05)
        assert item.truncated == bool(
            (uv < -0.5).any() or (uv > np.array([width, height]) - 0.5).any()
        )


def test_depths_are_those_of_the_annotated_pose(root):
    dataset = Pascal3D(root, "chair", "synth", "train")
    for item in dataset:
        path = root / "Depth/chair_synth" / f"{item.name}.png"
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * record.DEPTH_UNIT
        mask = mask_of(root, item.name)
        assert ((depth > 0) == mask).all()
        assert np.abs(depth[mask] - item.distance).max() < 0.51  # half a diagonal


def test_views_cover_what_was_asked_for(root):
    items = list(Pascal3D(root, "chair", "synth", "train"))
    assert np.ptp([item.azimuth for item in items]) > np.pi
    for item in items:
        assert -10.01 <= np.degrees(item.elevation) <= 60.01
        assert abs(np.degrees(item.theta)) <= 15.01
        assert 1.2 <= item.distance <= 6.0


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_whole_or_in_parts(cache, photos, root, tmp_path):
    settings = Settings("chair", "train", ranges=SMALL)
    build(cache[1], settings, 5, cache[0], tmp_path, [photos])
    victim = tmp_path / "Annotations/chair_synth/chair_train_000002.mat"
    victim.unlink()  # as a run that was stopped leaves it
    build(cache[1], settings, 12, cache[0], tmp_path, [photos])
    whole = files(root)
    for name, data in files(tmp_path).items():
        if "classes.csv" not in name:
            assert data == whole[name], name
    other = tmp_path / "other"
    build(cache[1], Settings("chair", "train", 1, ranges=SMALL), 1, cache[0], other, [photos])
    name = "Images/chair_synth/chair_train_000000.jpg"
    assert (other / name).read_bytes() != whole[name]


def test_images_that_are_there_are_not_made_again(cache, photos, root, monkeypatch):
    monkeypatch.setattr(building, "render", lambda job, index: pytest.fail("made again"))
    build(cache[1], Settings("chair", "train", ranges=SMALL), 12, cache[0], root, [photos])


def test_processes_give_the_bytes_that_one_gives(cache, root, photos, tmp_path):
    settings = Settings("chair", "val", ranges=SMALL)
    build(cache[1], settings, 6, cache[0], tmp_path, [photos], workers=2)
    whole = files(root)
    assert all(whole[n] == data for n, data in files(tmp_path).items() if "Images" in n)


def test_no_family_is_in_both_splits(cache, root):
    seen: dict[str, set[str]] = {"train": set(), "val": set()}
    with (root / "classes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            seen[row["name"].split("_")[1]].add(row["class"])
    assert seen["val"]
    assert seen["train"]
    assert not seen["train"] & seen["val"]
    numbers = [{k for k, _ in chosen(cache[1], "chair", split)} for split in ("train", "val")]
    assert not numbers[0] & numbers[1]
    assert set().union(*numbers) == set(range(1, 6))
    fit, tune = (Pascal3D(root, "chair", "synth", f"train-{part}") for part in ("fit", "tune"))
    assert not {i.cad_index for i in fit} & {i.cad_index for i in tune}


def test_families_are_held_back_and_the_others_keep_their_numbers(cache, photos, tmp_path):
    every = chosen(cache[1], "chair", "train")
    held = every[0][1].family
    left = chosen(cache[1], "chair", "train", [held])
    assert left == [one for one in every if one[1].family != held]
    settings = Settings("chair", "train", ranges=SMALL, without=(held,))
    build(cache[1], settings, 8, cache[0], tmp_path, [photos])
    with (tmp_path / "classes.csv").open(newline="") as file:
        assert held not in {row["class"] for row in csv.DictReader(file)}
    with pytest.raises(NemoError, match="other settings"):
        build(cache[1], Settings("chair", "train", ranges=SMALL), 8, cache[0], tmp_path, [photos])
    with pytest.raises(NemoError, match="--without no-such: is none of chair's train split"):
        chosen(cache[1], "chair", "train", ["no-such"])
    with pytest.raises(NemoError, match="leaves no family"):
        chosen(cache[1], "chair", "train", sorted({one.family for _, one in every}))


def test_stretched_models_are_other_shapes_and_told_as_such(cache, root, photos, tmp_path):
    ranges = replace(SMALL, stretched=0.4)
    build(cache[1], Settings("chair", "val", ranges=ranges), 6, cache[0], tmp_path, [photos])
    overlaps, found = [], Pascal3D(tmp_path, "chair", "synth", "val")
    for before, item in zip(Pascal3D(root, "chair", "synth", "val"), found, strict=True):
        assert before.stretch is None
        assert item.stretch is not None
        assert item.cad_index == before.cad_index
        cad = found.cad(item.cad_index)
        assert np.linalg.norm(item.shape(cad).extent) == pytest.approx(1.0, abs=0.02)
        mask = mask_of(tmp_path, item.name)
        overlaps.append([
            (mask & shown).sum() / (mask | shown).sum()
            for shown in (silhouette(mesh, item.T_cam_obj, item.K, *mask.shape[::-1])
                          for mesh in (item.shape(cad), cad))
        ])  # fmt: skip
    stretched, plain = np.median(overlaps, axis=0)
    assert stretched > 0.9 > plain
    with pytest.raises(NemoError, match="other settings"):
        build(cache[1], Settings("chair", "val", ranges=SMALL), 6, cache[0], tmp_path, [photos])


def test_a_stretch_keeps_what_looks_the_same_from_all_around():
    rng = np.random.default_rng(0)
    for symmetry, kept in ((0, True), (4, True), (1, False), (2, False)):
        factors = draw_stretch(np.ones(3), symmetry, 0.5, rng)
        assert (factors[0] == factors[1]) == kept
        assert (np.abs(np.log(factors)) <= 0.5).all()


def test_a_stretched_table_keeps_its_longer_side():
    rng = np.random.default_rng(1)
    table, longer = np.array([0.7, 0.6, 0.4]), []
    for _ in range(40):
        x, y, _ = table * draw_stretch(table, 2, 0.5, rng)
        assert x > y
        x, y, _ = table * draw_stretch(table, 1, 0.5, rng)
        longer.append(x > y)
    assert any(longer)
    assert not all(longer)


def test_jitter_moves_boxes_and_nothing_else(cache, root, photos, tmp_path):
    settings = Settings("chair", "val", box_jitter=0.1, ranges=SMALL)
    build(cache[1], settings, 6, cache[0], tmp_path, [photos])
    for a, b in zip(Pascal3D(root, "chair", "synth", "val"),
                    Pascal3D(tmp_path, "chair", "synth", "val"), strict=True):  # fmt: skip
        np.testing.assert_array_equal(a.T_cam_obj, b.T_cam_obj)
        np.testing.assert_array_equal(a.read_image(), b.read_image())
        assert np.abs(a.box - b.box).max() > 0.5


def test_a_root_of_other_settings_is_left_alone(cache, photos, root):
    with pytest.raises(NemoError, match="other settings"):
        build(cache[1], Settings("chair", "val", 7, ranges=SMALL), 6, cache[0], root, [photos])


def test_occluded_copies_are_made_as_of_any_set(root, photos, tmp_path, capsys):
    words = ["occlude", "--root", str(root), "--source", "synth", "--split", "val", "--category",
             "chair", "--occluders", str(photos), "--level", "1", "--out",
             str(tmp_path)]  # fmt: skip
    assert cli.main(words) == 0
    assert "level 1" in capsys.readouterr().out
    assert occlude.list_path(tmp_path, "chair", 1).read_text().count("\n") >= 4


def test_a_contact_sheet_shows_each_model_and_its_axes(cache):
    cells = [cell(stored_model(entry, cache[0]), entry) for entry in cache[1]]
    image = sheet(cells, columns=3)
    assert image.shape == (2 * cells[0].shape[0], 3 * cells[0].shape[1], 3)
    assert (image[: cells[0].shape[0], : cells[0].shape[1]] == cells[0]).all()
    red, green, blue = (cells[0][..., k].astype(int) for k in range(3))
    green = green - np.maximum(red, blue) > 60
    assert green[:, :30].sum() > 5  # the front points to the left, beyond the chair
    assert not green[:, -30:].any()


def run(*words: str) -> int:
    return cli.main(["synth", *words])


def test_the_command_renders_and_lists(cache, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(synth, "read_table", lambda: cache[1])
    folder = str(cache[0])
    words = ["render", "--cache", folder, "--out", str(tmp_path), "--category", "chair"]
    assert run(*words, "--split", "val", "--count", "2", "--size", "96") == 0  # without photos
    assert "2 images of chair (val)" in capsys.readouterr().out
    assert run("models", "--cache", folder, "--sheet", str(tmp_path / "sheets")) == 0
    assert "5 models, 4 families, few instances" in capsys.readouterr().out
    assert (tmp_path / "sheets/chair.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--category", "dog"], "it has chair"),
        (["--category", "chair", "--count", "0"], "--count"),
        (["--category", "chair", "--elevation", "50", "20"], "--elevation"),
        (["--category", "chair", "--size", "5"], "--size"),
        (["--category", "chair", "--backgrounds", "nowhere"], "nowhere"),
        (["--category", "chair", "--without", "no-such"], "--without no-such"),
        (["--category", "chair", "--stretched", "1.5"], "--stretched 1.5: must be 0 to 1"),
    ],
)
def test_wrong_options_are_refused(cache, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setattr(synth, "read_table", lambda: cache[1])
    folder = str(cache[0])
    assert run("render", "--cache", folder, "--out", str(tmp_path), *words) == 2
    assert message in capsys.readouterr().err


def test_a_licence_of_no_model_is_told(tmp_path, capsys):
    assert run("models", "--cache", str(tmp_path), "--licence", "WTFPL") == 2
    assert "no model has it; there are CC-BY-3.0" in capsys.readouterr().err
