# SPDX-License-Identifier: Apache-2.0
"""Several categories over one backbone: files, sharing, and one batch for all boxes of a frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from nemo_model.bundle import BACKBONE, CARD, NEURAL_MESH, SHARED, Bundle, BundleError
from nemo_model.camera import Camera
from nemo_model.estimator import Estimator
from nemo_model.family import load_family, members, sharing, write_family
from nemo_model.features import FeatureExtractor
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.tracker import Detection, Frame, Tracker
from nemo_ros.pipeline import load_estimators

CAMERA = Camera(np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]]), 320, 240)


def write(folder: Path) -> Path:
    """A family of two: the coloured cuboid as a car, and one of other colours as a van."""
    shape = tiny.mesh()
    colours = tiny.colours(shape.vertices)
    parts = (
        Bundle(
            folder / category,
            tiny.card(name=f"tiny/{category}", category=category, backbone=SHARED),
            shape,
            tiny.features_of(colour),
            tiny.clutter(),
            np.array(shape.vertices),
        )
        for category, colour in (("car", colours), ("van", 256.0 - colours[:, [1, 2, 0]]))
    )
    write_family(list(parts), tiny.backbone())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "pair")


def test_the_backbone_is_there_once_and_each_category_is_a_bundle(folder: Path) -> None:
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        BACKBONE,
        *(f"{category}/{name}" for category in ("car", "van") for name in (CARD, NEURAL_MESH)),
    ]
    car, van = Bundle.load(folder / "car"), Bundle.load(folder / "van")
    assert (car.card.category, van.card.category) == ("car", "van")
    assert car.onnx_path.read_bytes() == tiny.backbone()
    assert car.onnx_path.samefile(van.onnx_path)
    assert car.card.sha256[BACKBONE] == van.card.sha256[BACKBONE]
    assert car.digest != van.digest


def test_a_category_is_loaded_and_estimates_like_any_bundle(folder: Path) -> None:
    T = transform(rotation_from_angles(0.6, 0.2, 0.0), np.array([0.2, 0.1, 13.0]))
    image, box = tiny.photo(CAMERA, T)
    found = Estimator.load(folder / "car").estimate(image, CAMERA.K, box)
    turn = found.T_cam_obj[:3, :3].T @ T[:3, :3]
    assert math.degrees(math.acos(min((np.trace(turn) - 1) / 2, 1.0))) < 5.0


def test_loading_from_inside_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "car")
    assert Bundle.load(".").card.category == "car"
    monkeypatch.chdir(folder)
    assert [path.name for path in members(Path())] == ["car", "van"]


def test_a_family_is_no_bundle_and_says_which_ones_it_holds(folder: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    for word in ("family of car, van", str(folder / "car")):
        assert word in str(caught.value)


@pytest.mark.parametrize("category", ["car", "van"])
def test_a_missing_or_altered_backbone_is_told(folder: Path, category: str) -> None:
    path = folder / BACKBONE
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"backbone\.onnx: sha256 is"):
        Bundle.load(folder / category)
    path.unlink()
    with pytest.raises(BundleError, match=r"backbone\.onnx: no such file, but the card names it"):
        Bundle.load(folder / category)


def test_a_bundle_that_does_not_share_is_no_part_of_a_family(tmp_path: Path) -> None:
    alone = Bundle.load(tiny.write(tmp_path / "alone"))
    with pytest.raises(BundleError, match="no part of the family"):
        write_family([alone], tiny.backbone())


def test_all_categories_of_a_family_are_loaded_over_one_session(
    folder: Path, tmp_path: Path
) -> None:
    tiny.write(tmp_path / "alone", category="bus")
    found = load_estimators(f"{folder},{tmp_path / 'alone'}")
    assert list(found) == ["car", "van", "bus"]
    assert found["car"].extractor is found["van"].extractor
    assert found["bus"].extractor is not found["car"].extractor
    assert sharing(list(found.values())) == [[0, 1], [2]]


def test_other_crops_and_stand_ins_are_not_shared(folder: Path) -> None:
    car, van = load_family(folder)
    narrow = van.bundle.card.model_copy(update={"fill": 0.7})
    van.bundle = Bundle(**{**vars(van.bundle), "card": narrow})
    assert sharing([car, van, object(), object()]) == [[0], [1], [2], [3]]


def test_a_category_below_a_bundle_is_found_with_it(tmp_path: Path) -> None:
    top = tiny.write(tmp_path / "car")
    below = Bundle.load(top)
    card = tiny.card(name="van", category="van", backbone=SHARED)
    write_family([Bundle(**{**vars(below), "folder": top / "van", "card": card})], tiny.backbone())
    assert [one.category for one in load_family(top)] == ["car", "van"]
    assert Bundle.load(top).card.category == "car"


def test_boxes_of_one_frame_go_through_the_network_in_one_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimators = load_estimators(str(folder))
    sizes: list[int] = []
    run = FeatureExtractor.look

    def counted(self: FeatureExtractor, crops: Any) -> Any:
        sizes.append(len(crops))
        return run(self, crops)

    monkeypatch.setattr(FeatureExtractor, "look", counted)
    T = transform(rotation_from_angles(0.6, 0.2, 0.0), np.array([0.2, 0.1, 13.0]))
    image, box = tiny.photo(CAMERA, T)
    x1, y1, x2, y2 = (float(v) for v in box)
    boxes = [(x1, y1, x2, y2), (10.0, 20.0, 60.0, 50.0), (230.0, 20.0, 290.0, 60.0)]
    found = tuple(Detection(b, c) for b, c in zip(boxes, ("car", "van", "car"), strict=True))
    result = Tracker(estimators).step(Frame(image, CAMERA, 1, found))
    assert sizes[0] == 3
    assert 3 not in sizes[1:]  # the others are looks at mirror images
    assert [track.estimate.category for track in result.tracks] == ["car", "van", "car"]
    alone = Tracker(load_estimators(str(folder / "car"))).step(
        Frame(image, CAMERA, 1, (found[0], found[2]))
    )
    assert np.allclose(alone.tracks[0].estimate.T_cam_obj, result.tracks[0].estimate.T_cam_obj)
