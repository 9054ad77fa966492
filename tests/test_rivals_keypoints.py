# SPDX-License-Identifier: Apache-2.0
"""Keypoints: where they come from, where a picture shows them, and which it does not show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import training_set
from pascal3d_files import struct_array, thing, write_object, write_set

from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.rivals.keypoints import KeypointMaps, category_keypoints
from nemo_model.training.loader import sample_maker
from nemo_model.training.samples import Picture, SampleMaker

CORNERS = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]


def corners() -> np.ndarray:
    """A little inside the corners of the cuboid, as named keypoints are."""
    mesh = tiny.mesh(200)
    return np.array(CORNERS) * 0.97 * mesh.extent / 2 + (mesh.lo + mesh.hi) / 2


def write_keypoints(path: Path, points: np.ndarray, model: str = "07") -> Path:
    entry = {f"p{k}": dict(zip("xyz", map(float, p), strict=True)) for k, p in enumerate(points)}
    path.write_text(json.dumps({"car": {"02": {"far": {"x": 9, "y": 9, "z": 9}}, model: entry}}))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = training_set.write(tmp_path_factory.mktemp("keypoints"))
    write_keypoints(root / "CAD" / "keypoints.json", corners())
    return root


def maker_of(root: Path, **augment: object) -> SampleMaker:
    config = training_set.config(
        width=192, height=128, augment=training_set.PLAIN.model_copy(update=augment)
    )
    return sample_maker(root, root / "photos", config)[0]


def maps_of(maker: SampleMaker, root: Path) -> KeypointMaps:
    points = category_keypoints(root, None, "car", maker.cads)
    return KeypointMaps(maker.objects, maker.cads, points)


def picture_of(maker: SampleMaker, at: int, seed: int = 0) -> Picture:
    return maker._picture(at, np.random.default_rng(seed))


def facing(picture: Picture, least: float) -> set[tuple[float, ...]]:
    """The corners of the faces that look at the eye, from at least so far before their plane."""
    eye = -picture.T[:3, :3].T @ picture.T[:3, 3]
    mesh = tiny.mesh(200)
    return {
        tuple(np.round(p, 6)) for p in corners() if any(
            (eye[a] > mesh.hi[a] + least and p[a] > 0)
            or (eye[a] < mesh.lo[a] - least and p[a] < 0)
            for a in range(3)
        )
    }  # fmt: skip


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("at", range(8))
def test_the_corners_that_are_seen_lie_on_the_cuboids_picture(
    root: Path, at: int, flip: float
) -> None:
    maker = maker_of(root, flip=flip)
    picture = picture_of(maker, at)
    points, uv = maps_of(maker, root).shown(picture)
    found = {tuple(np.round(p, 6)) for p in points}
    assert facing(picture, 0.35) <= found <= facing(picture, 0.0)
    assert len(found) == len(points) >= 4
    turned = points @ picture.T[:3, :3].T + picture.T[:3, 3]
    uvw = turned @ picture.crop.K.T
    np.testing.assert_allclose(uv, uvw[:, :2] / uvw[:, 2:], atol=1e-9)
    inner = np.round(uv + 0.12 * (uv.mean(axis=0) - uv)).astype(int)
    colours = picture.image[inner[:, 1], inner[:, 0]].astype(int)
    own = tiny.colours(points * ([-1.0, 1.0, 1.0] if flip else [1.0, 1.0, 1.0]))
    plain = [tuple(np.round(p, 6)) in facing(picture, 0.35) for p in points]
    assert np.abs(colours - own)[plain].max() < 50  # corners differ by more than 100


def test_keypoints_of_a_stretched_object_lie_on_it(root: Path) -> None:
    plain, long = maker_of(root), maker_of(root)
    long.objects = [replace(item, stretch=(1.0, 0.5, 1.0)) for item in long.objects]
    picture = picture_of(plain, 1)
    points = maps_of(plain, root).shown(picture)[0]
    found, uv = maps_of(long, root).shown(picture)
    whole = {tuple(np.round(p * [1.0, 0.5, 1.0], 6)) for p in corners()}
    assert {tuple(np.round(p, 6)) for p in found} <= whole
    assert len(found) >= 4 <= len(points)
    uvw = (found @ picture.T[:3, :3].T + picture.T[:3, 3]) @ picture.crop.K.T
    np.testing.assert_allclose(uv, uvw[:, :2] / uvw[:, 2:], atol=1e-9)


def test_hidden_keypoints_are_not_shown(root: Path) -> None:
    maker = maker_of(root)
    picture, maps = picture_of(maker, 1), maps_of(maker, root)
    every = maps.shown(picture)[1]
    left = np.zeros_like(picture.hidden)
    left[:, :96] = True
    kept = maps.shown(replace(picture, hidden=left))[1]
    assert 0 < len(kept) < len(every)
    assert (np.round(kept[:, 0]) >= 96).all()
    nothing = maps(replace(picture, hidden=np.ones_like(left)))
    assert nothing["heat"].max() == 0.0
    assert nothing["peaks"].sum() == 0.0


def test_maps_have_a_peak_per_keypoint_with_its_coordinates(root: Path) -> None:
    maker = maker_of(root)
    picture, maps = picture_of(maker, 2), maps_of(maker, root)
    points, uv = maps.shown(picture)
    found = maps(picture)
    assert found["heat"].shape == found["peaks"].shape == (32, 48)
    assert found["peaks"].sum() == len(points)
    for point, (x, y) in zip(points, uv, strict=True):
        i, j = round((y - 5) / 4), round((x - 5) / 4)
        assert found["peaks"][i, j] == 1.0
        np.testing.assert_allclose(found["canonical"][:, i, j], point, atol=1e-6)


def test_annotated_keypoints_are_where_they_were_marked(root: Path) -> None:
    maker = maker_of(root, flip=1.0)
    at = 1
    item, straight = maker.objects[at], picture_of(maker_of(root), at)
    points, uv = maps_of(maker, root).shown(straight)
    inverse = np.linalg.inv(straight.H)
    marks = np.column_stack([uv, np.ones(len(uv))]) @ inverse.T
    marks = marks[:, :2] / marks[:, 2:] + [1.0, -0.5]  # marked a little beside
    anchors = {f"a{k}": (float(x), float(y)) for k, (x, y) in enumerate(marks[:2])}
    maker.objects = [
        replace(each, anchors=anchors) if each is item else each for each in maker.objects
    ]
    picture = picture_of(maker, at)
    found, where = maps_of(maker, root).shown(picture)
    assert len(found) == 2  # the marked ones alone
    np.testing.assert_allclose(
        sorted(map(tuple, found)), sorted(map(tuple, points[:2] * [-1.0, 1.0, 1.0])), atol=1e-9
    )
    last = item.size[0] - 1.0
    mirrored = np.column_stack([last - marks[:2, 0], marks[:2, 1], np.ones(2)]) @ picture.H.T
    np.testing.assert_allclose(where, mirrored[:, :2] / mirrored[:, 2:], atol=1e-6)


# --- files


def test_a_file_is_matched_by_position_whatever_it_numbers(root: Path) -> None:
    maker = maker_of(root)
    found = category_keypoints(root, None, "car", maker.cads)
    np.testing.assert_allclose(found[1], corners())


def test_without_a_file_points_are_sampled_on_the_cad(root: Path, tmp_path: Path) -> None:
    cads = maker_of(root).cads
    found = category_keypoints(tmp_path, None, "car", cads)
    assert found[1].shape == (20, 3)
    assert (np.abs(found[1]) <= np.abs(cads[1].vertices).max(axis=0) + 1e-9).all()
    (tmp_path / "k.json").write_text('{"bus": {}}')
    np.testing.assert_array_equal(
        category_keypoints(root, tmp_path / "k.json", "car", cads)[1], found[1]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"car": {"01": {"a": {"x": 1, "y": 2}}}}', "needs model: name: x, y, z"),
        ('{"car": {"01": {"a": {"x": 1, "y": 2, "z": 3}}}}', "lie on CAD model 1"),
        ('{"car": {}}', "lie on CAD model 1"),
    ],
)
def test_what_is_no_keypoint_file_is_refused(
    root: Path, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(NemoError, match=rf"bad\.json: .*{message}"):
        category_keypoints(root, path, "car", maker_of(root).cads)
    with pytest.raises(NemoError, match=r"none\.json"):
        category_keypoints(root, tmp_path / "none.json", "car", {})


def anchors(**marks: object) -> np.ndarray:
    return struct_array([
        {name: struct_array([mark]) if isinstance(mark, dict) else mark
         for name, mark in marks.items()}
    ])  # fmt: skip


def test_visible_anchors_are_read_in_pixels_from_zero(tmp_path: Path) -> None:
    marks = anchors(
        left_wheel={"location": np.array([[41.0, 61.5]]), "status": 1.0},
        right_wheel={"location": np.zeros((0, 0)), "status": 2.0},
        roof={"location": np.zeros((0, 0)), "status": 1.0},
        lamp=np.zeros((0, 0)),
    )
    write_object(tmp_path, "a", [thing(anchors=marks)])
    write_set(tmp_path, "val", ["a"])
    item = Pascal3D(tmp_path, "car", split="val")[0]
    assert dict(item.anchors) == {"left_wheel": (40.0, 60.5)}


def test_anchors_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    marks = anchors(roof={"location": np.array([[1.0, 2.0, 3.0]]), "status": 1.0})
    write_object(tmp_path, "a", [thing(anchors=marks)])
    write_set(tmp_path, "val", ["a"])
    with pytest.raises(DatasetError, match=r"a\.mat: object 1 \(car\): anchors\.roof\.location"):
        Pascal3D(tmp_path, "car", split="val")


def test_named_keypoints_of_real_cads_are_found(shared_data: Path) -> None:
    """Another numbering: CAD 2 of that set is car 03 of the file."""
    root, file = shared_data / "stanford_cars3d", shared_data / "pascal3d_cad" / "keypoints.json"
    if not (root / "CAD").is_dir() or not file.is_file():
        pytest.skip("no stanford_cars3d or pascal3d_cad in the shared data")
    cads = Pascal3D(root, "car", split="train-tune").cads
    found = category_keypoints(root, file, "car", cads)
    names = json.loads(file.read_text())["car"]
    for index, name in zip(sorted(cads), ("01", "03", "04", "06", "08"), strict=True):
        expected = [[p[a] for a in "xyz"] for p in names[name].values()]
        np.testing.assert_allclose(found[index], expected)
