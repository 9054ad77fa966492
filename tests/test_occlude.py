# SPDX-License-Identifier: Apache-2.0
"""`nemo occlude`: how much is hidden, the same bytes for the same seed, the layout, the loader."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
from pascal3d_files import SIZE, small_set, texture, thing, viewpoint, write_object, write_set

from nemo_model.commands import occlude as command
from nemo_model.datasets.common import DatasetError, read_image
from nemo_model.datasets.occluded import OccludedPascal3D, folder_name, read_occlusion
from nemo_model.datasets.occluders import generator, occlude, photo_paths
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.mesh import load_off
from nemo_model.raster import silhouette


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(4):
        photo = texture(np.random.default_rng(100 + k), (240, 160))
        cv2.imwrite(str(folder / f"{k}.png"), photo)
    return folder


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("cars"))


def run(root: Path, photos: Path, out: Path, *more: str) -> Path:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = ["--root", str(root), "--occluders", str(photos), "--out", str(out), *more]
    assert command.run(parser.parse_args(arguments)) == 0
    return out


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(("level", "low", "high"), [(1, 0.2, 0.4), (2, 0.4, 0.6), (3, 0.6, 0.8)])
def test_share_of_the_cad_that_is_hidden(
    cars: Path, photos: Path, tmp_path: Path, level: int, low: float, high: float
) -> None:
    run(cars, photos, tmp_path, "--level", str(level))
    for item in Pascal3D(cars, "car", split="val"):
        path = tmp_path / "annotations" / folder_name("car", level) / f"{item.name}.npz"
        occluder, mask, box = read_occlusion(path)
        mesh = load_off(cars / "CAD" / "car" / "01.off")
        seen = silhouette(mesh, item.T_cam_obj, item.K, *SIZE)
        assert (mask == seen).all()
        assert low <= (occluder & seen).sum() / seen.sum() <= high
        assert np.abs(box - item.box).max() <= 1
        image = read_image(tmp_path / "images" / folder_name("car", level) / f"{item.name}.JPEG")
        change = np.abs(image.astype(int) - item.read_image()).max(axis=2)
        far = cv2.dilate(occluder.astype(np.uint8), np.ones((19, 19))) == 0
        assert change[far].max(initial=0) < 30  # JPEG only
        assert np.median(change[occluder]) > 30  # really pasted over


def test_same_seed_same_bytes(cars: Path, photos: Path, tmp_path: Path) -> None:
    one = files(run(cars, photos, tmp_path / "1", "--seed", "7"))
    two = files(run(cars, photos, tmp_path / "2", "--seed", "7"))
    other = files(run(cars, photos, tmp_path / "3", "--seed", "8"))
    assert one == two
    assert len(one) == 3 * (6 + 6 + 1)
    same = [name for name in one if name.endswith(".JPEG") and one[name] == other[name]]
    assert not same


def test_an_image_does_not_depend_on_the_others(cars: Path, photos: Path, tmp_path: Path) -> None:
    whole = files(run(cars, photos, tmp_path / "all", "--level", "2"))
    part = files(run(cars, photos, tmp_path / "part", "--level", "2", "--limit", "2"))
    images = [name for name in part if name.endswith((".JPEG", ".npz"))]
    assert len(images) == 4
    assert all(part[name] == whole[name] for name in images)


def test_layout_of_the_occluded_pascal3d(cars: Path, photos: Path, tmp_path: Path) -> None:
    run(cars, photos, tmp_path, "--level", "3")
    listed = (tmp_path / "lists" / "carFGL3_BGL3.txt").read_text().split()
    assert listed == [f"{k:05d}.JPEG" for k in range(1, 7)]
    with np.load(tmp_path / "annotations" / "carFGL3_BGL3" / "00002.npz") as content:
        assert str(content["source"]) == "car_stanford/00002.JPEG"
        assert content["occluder_mask"].dtype == bool
        assert set(np.unique(content["mask"])) == {0, 255}
        assert content["box"].tolist() == [40, 90, 30, 130, SIZE[1], SIZE[0]]
        boxes = content["occluder_box"]
        assert (boxes[:, 4:] == [SIZE[1], SIZE[0]]).all()
        inside = np.zeros((SIZE[1], SIZE[0]), bool)
        for y0, y1, x0, x1 in boxes[:, :4]:
            inside[y0:y1, x0:x1] = True
        assert not (content["occluder_mask"] & ~inside).any()


def test_what_is_hidden_is_counted_of_the_stretched_model(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "cars"
    root.mkdir()
    small_set(root)
    stretched = thing(view=viewpoint(azimuth=65.0), stretch=[1.0, 0.4, 1.0])
    write_object(root, "00002", [stretched], imgsize=[*SIZE, 3])
    run(root, photos, tmp_path / "out", "--level", "2")
    item = next(i for i in Pascal3D(root, "car", split="val") if i.name == "00002")
    cad = load_off(root / "CAD" / "car" / "01.off")
    expected = silhouette(item.shape(cad), item.T_cam_obj, item.K, *SIZE)
    whole = silhouette(cad, item.T_cam_obj, item.K, *SIZE)
    with np.load(tmp_path / "out" / "annotations" / "carFGL2_BGL2" / "00002.npz") as content:
        np.testing.assert_array_equal(content["mask"] > 0, expected)
    assert (expected != whole).any()


def test_loader_takes_photo_here_and_pose_there(cars: Path, photos: Path, tmp_path: Path) -> None:
    run(cars, photos, tmp_path, "--level", "1", "--limit", "4", "--seed", "3")
    plain = {item.name: item for item in Pascal3D(cars, "car", split="val")}
    dataset = OccludedPascal3D(cars, tmp_path, "car", 1)
    assert len(dataset) == 4
    for item in dataset:
        assert item.image_path.is_relative_to(tmp_path)
        assert item.T_cam_obj.tolist() == plain[item.name].T_cam_obj.tolist()
        assert item.K.tolist() == plain[item.name].K.tolist()
        assert (item.read_image() != plain[item.name].read_image()).any()


def test_boxes_of_what_is_left_to_see(cars: Path, photos: Path, tmp_path: Path) -> None:
    run(cars, photos, tmp_path, "--level", "3", "--limit", "6", "--seed", "3")
    whole = OccludedPascal3D(cars, tmp_path, "car", 3)
    visible = OccludedPascal3D(cars, tmp_path, "car", 3, boxes="visible")
    assert len(whole) == len(visible) > 0
    smaller = 0
    for full, left in zip(whole, visible, strict=True):
        note = tmp_path / "annotations" / "carFGL3_BGL3" / f"{full.name}.npz"
        occluder, mask, _ = read_occlusion(note)
        x1, y1, x2, y2 = left.box.astype(int)
        seen = mask & ~occluder
        assert seen[y1:y2, x1:x2].sum() == seen.sum()  # nothing outside, and every side touches
        assert all(line.any() for line in (seen[y1], seen[y2 - 1], seen[:, x1], seen[:, x2 - 1]))
        smaller += bool((left.box[2:] - left.box[:2] < full.box[2:] - full.box[:2] - 2).any())
    assert smaller > 0


@pytest.mark.parametrize(("level", "low", "high"), [(1, 0.2, 0.4), (3, 0.6, 0.8)])
def test_a_wall_hides_one_side(
    cars: Path, photos: Path, tmp_path: Path, level: int, low: float, high: float
) -> None:
    words = ("--shape", "wall", "--level", str(level), "--limit", "6")
    run(cars, photos, tmp_path / "once", *words)
    run(cars, photos, tmp_path / "twice", *words)
    assert files(tmp_path / "once") == files(tmp_path / "twice")
    notes = sorted((tmp_path / "once").rglob("*.npz"))
    assert len(notes) == 6
    for note in notes:
        occluder, mask, _ = read_occlusion(note)
        assert low <= (mask & occluder).sum() / mask.sum() <= high
        rows, cols = np.nonzero(occluder)
        y1, x1 = rows.max() + 1, cols.max() + 1
        assert occluder[rows.min() : y1, cols.min() : x1].all()  # one rectangle
        touched = [rows.min() == 0, cols.min() == 0, y1 == mask.shape[0], x1 == mask.shape[1]]
        assert sum(touched) == 3  # from one edge of the image to the next but one


def test_loader_picks_the_occluded_object_of_several(photos: Path, tmp_path: Path) -> None:
    root = small_set(tmp_path / "cars", 1)
    small = thing(bbox=[1.0, 1.0, 21.0, 21.0], view=viewpoint(azimuth=300.0, px=11.0, py=11.0))
    write_object(root, "00001", [thing("person", view=[]), small, thing()])
    out = run(root, photos, tmp_path / "out", "--level", "1")
    dataset = OccludedPascal3D(root, out, "car", 1)
    assert [item.index for item in dataset] == [2]


def test_loader_leaves_out_other_splits(cars: Path, photos: Path, tmp_path: Path) -> None:
    run(cars, photos, tmp_path, "--level", "1")
    listed = tmp_path / "lists" / "carFGL1_BGL1.txt"
    listed.write_text(listed.read_text() + "99999.JPEG\n")
    dataset = OccludedPascal3D(cars, tmp_path, "car", 1)
    assert (len(dataset), dict(dataset.skipped)) == (6, {"not in the split": 1})


def test_a_list_that_is_there_is_not_replaced_unasked(
    cars: Path, photos: Path, tmp_path: Path
) -> None:
    run(cars, photos, tmp_path, "--level", "2", "--limit", "3")
    before = files(tmp_path)
    for level in ("2", "all"):  # level 1 is not begun either
        with pytest.raises(DatasetError, match=r"carFGL2_BGL2\.txt: is there.*--overwrite"):
            run(cars, photos, tmp_path, "--level", level)
    assert files(tmp_path) == before
    run(cars, photos, tmp_path, "--level", "3")  # another level is another list
    run(cars, photos, tmp_path, "--level", "2", "--overwrite")
    assert len((tmp_path / "lists" / "carFGL2_BGL2.txt").read_text().split()) == 6


def test_an_npz_as_the_occluded_pascal3d_has_it(cars: Path, photos: Path, tmp_path: Path) -> None:
    """Some hold pickled objects beside what is read; what is missing or odd is named."""
    run(cars, photos, tmp_path, "--level", "1")
    path = tmp_path / "annotations" / "carFGL1_BGL1" / "00001.npz"
    with np.load(path) as content:
        arrays = dict(content)
    expected = read_occlusion(path)
    odd = np.array([None, "x"], dtype=object)
    np.savez(path, **arrays | {"occluder_box": odd, "occluder_level": "F"}, allow_pickle=True)
    for found, one in zip(read_occlusion(path), expected, strict=True):
        np.testing.assert_array_equal(found, one)
    for changes, words in (
        ({"mask": odd}, "mask cannot be read"),
        ({"mask": np.zeros((3, 4))}, "must be one"),
        ({"box": np.zeros(3)}, "box holds 3 numbers"),
        ({"box": np.array("none")}, "box is no array of numbers"),
    ):
        np.savez(path, **arrays | changes, allow_pickle=True)
        with pytest.raises(DatasetError, match=rf"00001\.npz.*{words}"):
            read_occlusion(path)
    del arrays["box"]
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match=r"00001\.npz: box cannot be read"):
        read_occlusion(path)


def test_an_image_that_is_missing_is_counted(cars: Path, photos: Path, tmp_path: Path) -> None:
    run(cars, photos, tmp_path, "--level", "1")
    (tmp_path / "images" / "carFGL1_BGL1" / "00003.JPEG").unlink()
    dataset = OccludedPascal3D(cars, tmp_path, "car", 1)
    assert [item.name for item in dataset] == ["00001", "00002", "00004", "00005", "00006"]
    assert dict(dataset.skipped) == {"no image file": 1}


def test_train_tune_can_be_occluded(photos: Path, tmp_path: Path) -> None:
    root = small_set(tmp_path / "cars", 10, split="train")
    out = run(root, photos, tmp_path / "out", "--level", "1", "--split", "train-tune")
    tune = Pascal3D(root, "car", split="train-tune")
    dataset = OccludedPascal3D(root, out, "car", 1, split="train-tune")
    assert [item.name for item in dataset] == [item.name for item in tune]


def test_tiny_objects_and_ones_without_cad_are_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small_set(tmp_path / "cars", 2)
    write_object(root, "tiny", [thing(view=viewpoint(distance=80.0))])
    write_object(root, "bare", [thing(cad_index=[])])
    write_set(root, "val", ["00001", "tiny", "bare"])
    out = run(root, photos, tmp_path / "out", "--level", "2")
    assert (out / "lists" / "carFGL2_BGL2.txt").read_text() == "00001.JPEG\n"
    assert "1 left out as too small" in capsys.readouterr().out


def test_long_thin_silhouettes_reach_their_share(photos: Path) -> None:
    paths = photo_paths([photos])
    image = texture(np.random.default_rng(5))
    thin = np.zeros((SIZE[1], SIZE[0]), bool)
    thin[58:62, 5:150] = True
    for level, low, high in ((1, 0.2, 0.4), (2, 0.4, 0.6), (3, 0.6, 0.8)):
        for k in range(10):
            result = occlude(image, thin, level, paths, generator(k, level, "car", "thin"))
            assert result is not None
            assert low <= (result.mask & thin).sum() / thin.sum() <= high


def test_errors_say_what_is_wrong(cars: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder of photos"):
        run(cars, tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no .jpg or .png"):
        run(cars, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DatasetError, match=r"carFGL1_BGL1\.txt"):
        OccludedPascal3D(cars, tmp_path, "car", 1)
    with pytest.raises(DatasetError, match="level 4"):
        OccludedPascal3D(cars, tmp_path, "car", 4)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"bad\.npz"):
        read_occlusion(bad)
