# SPDX-License-Identifier: Apache-2.0
"""The boxes that a calibration is fitted on: each kind is what it says, and keeps its camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pascal3d_files import small_set

from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.evaluation import trials
from nemo_model.evaluation.samples import Sample, from_pascal3d

K = np.array([[300.0, 0, 100], [0, 300.0, 60], [0, 0, 1]])
BOX = np.array([20.0, 30.0, 180.0, 110.0])


def photo(rows: int = 140, cols: int = 200) -> np.ndarray:
    """A smooth picture whose colour tells the place: red grows right, green down."""
    image = np.zeros((rows, cols, 3), dtype=np.uint8)
    image[:, :, 0] = np.linspace(0, 255, cols)[None]
    image[:, :, 1] = np.linspace(0, 255, rows)[:, None]
    return image


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    root = small_set(tmp_path_factory.mktemp("cars"))
    return from_pascal3d(Pascal3D(root, "car", split="val").objects)


def test_jitter_is_of_the_size_and_bounded() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([trials.jittered(BOX, 0.1, rng) for _ in range(2000)]) - BOX
    shares = boxes / np.array([160.0, 80, 160, 80])
    assert shares.std(axis=0) == pytest.approx(0.1, rel=0.1)
    assert np.abs(shares).max() <= 0.25
    np.testing.assert_array_equal(trials.jittered(BOX, 0.0, rng), BOX)


def test_misplaced_boxes_still_lie_on_the_object() -> None:
    rng = np.random.default_rng(1)
    made = np.array([trials.misplaced(BOX, rng) for _ in range(500)])
    centres = (made[:, :2] + made[:, 2:]) / 2 - (BOX[:2] + BOX[2:]) / 2
    assert np.abs(centres / [160, 80]).max() <= 0.25
    sizes = (made[:, 2:] - made[:, :2]) / [160, 80]
    assert 0.6 < sizes.min() < 0.75
    assert 1.3 < sizes.max() < 1.7


def test_the_visible_box_is_that_of_what_is_not_hidden() -> None:
    silhouette = np.zeros((100, 100), dtype=bool)
    silhouette[20:80, 10:90] = True
    occluder = np.zeros_like(silhouette)
    occluder[:, 50:] = True
    box = trials.visible_box(occluder, silhouette)
    assert box is not None
    assert box == pytest.approx([10, 20, 49, 79], abs=1.0)
    assert trials.visible_box(np.ones_like(occluder), silhouette) is None


def test_a_cut_photo_ends_inside_the_object_and_its_pixels_keep_their_rays() -> None:
    rng = np.random.default_rng(2)
    sides = set()
    for _ in range(30):
        image, moved, box = trials.cut(photo(), K, BOX, rng)
        rows, cols = image.shape[:2]
        shift = moved[:2, 2] - K[:2, 2]
        touching = [box[0] == 0, box[2] == cols - 1, box[3] == rows - 1]
        assert sum(touching) == 1
        side = touching.index(True)
        sides.add(side)
        whole = BOX + np.tile(shift, 2)
        lost = [-whole[0] / 160, (whole[2] - cols + 1) / 160, (whole[3] - rows + 1) / 80][side]
        assert 0.09 < lost < 0.52
        # the pixel in the middle of what is left shows what it showed
        u, v = (int(x) for x in (box[:2] + box[2:]) / 2)
        old = photo()[int(v - shift[1]), int(u - shift[0])]
        np.testing.assert_array_equal(image[v, u], old)
    assert sides == {0, 1, 2}


def test_a_shrunk_photo_keeps_its_rays() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        image, small, box = trials.shrunk(photo(), K, BOX, rng)
        assert 0.14 * 200 <= image.shape[1] <= 0.51 * 200
        ray = np.linalg.solve(K, [*BOX[:2], 1.0])
        assert small @ ray == pytest.approx([*box[:2], 1.0])
        assert small @ np.linalg.solve(K, [*BOX[2:], 1.0]) == pytest.approx([*box[2:], 1.0])
        assert box[2] <= image.shape[1]


@pytest.mark.parametrize("kind", ["object", "off", "cut", "small"])
def test_object_cases_carry_level_group_and_truth(samples: list[Sample], kind: str) -> None:
    groups = {samples[0].name: "a model"}
    cases = list(trials.object_cases(samples, 2, 0.05, groups, np.random.default_rng(0), kind=kind))
    assert len(cases) == len(samples)
    assert {(case.kind, case.level) for case in cases} == {(kind, 2)}
    assert [case.group for case in cases[:2]] == ["a model", samples[1].name]
    for case, sample in zip(cases, samples, strict=True):
        np.testing.assert_array_equal(case.T_cam_obj, sample.T_cam_obj)
        assert (case.box[2:] > case.box[:2]).all()
    again = list(trials.object_cases(samples, 2, 0.05, groups, np.random.default_rng(0), kind=kind))
    assert all(np.array_equal(a.box, b.box) for a, b in zip(cases, again, strict=True))


def test_a_share_of_the_objects(samples: list[Sample]) -> None:
    rng = np.random.default_rng(1)
    many = samples * 50
    assert len(list(trials.object_cases(many, 0, 0.0, {}, rng, share=0.3))) == pytest.approx(
        0.3 * len(many), rel=0.2
    )


@pytest.mark.parametrize(("kind", "low", "high"), [("background", 0.2, 0.7), ("other", 0.6, 0.98)])
def test_empty_cases_have_no_truth_and_boxes_inside(kind: str, low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    paths = [Path("n00000001_a.jpg"), Path("n00000002_b.jpg")]
    cases = list(trials.empty_cases(paths, lambda path: photo(), kind, 40, rng))
    assert [case.group for case in cases[:3]] == ["n00000001_a", "n00000002_b", "n00000001_a"]
    for case in cases:
        assert (case.kind, case.level, case.T_cam_obj) == (kind, -1, None)
        share = (case.box[2:] - case.box[:2]) / [200, 140]
        assert low <= share.min() <= share.max() <= high
        assert (case.box >= 0).all()
        assert (case.box[2:] <= [200, 140]).all()
    with pytest.raises(DatasetError, match="without the category"):
        next(trials.empty_cases([], lambda path: photo(), kind, 1, rng))


def test_photos_that_show_the_category_are_left_out_and_the_halves_differ() -> None:
    paths = [Path(f"n{number:08d}_x.JPEG") for number in range(1440000, 1440100)]
    cars = [Path("n02930766_cab.JPEG"), Path("n04285008_sports_car.JPEG")]
    first, second = (trials.split_photos([*paths, *cars], "car", part) for part in (0, 1))
    assert sorted([*first, *second]) == paths
    assert not set(first) & set(second)
    assert 30 < len(first) < 70
    both = {*trials.split_photos(cars, "boat", 0), *trials.split_photos(cars, "boat", 1)}
    assert both == set(cars)
    assert trials.split_photos([Path("7039.jpg")], "car", 0) or trials.split_photos(
        [Path("7039.jpg")], "car", 1
    )
