# SPDX-License-Identifier: Apache-2.0
"""The PASCAL3D+ loader on files with the real set's quirks, and on real photos."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pascal3d_files import (
    SIZE,
    small_set,
    struct_array,
    texture,
    thing,
    viewpoint,
    write_object,
    write_set,
)

from nemo_model.datasets.common import DatasetError, subset, tune_groups
from nemo_model.datasets.pascal3d import Pascal3D, Pascal3DObject
from nemo_model.mesh import cuboid, load_off


def load_one(root: Path, objects: object, **record: object) -> Pascal3DObject:
    write_object(root, "a", objects, **record)  # type: ignore[arg-type]
    write_set(root, "val", ["a"])
    return Pascal3D(root, "car", split="val")[0]


def test_pixels_count_from_zero_and_angles_are_radians(tmp_path: Path) -> None:
    item = load_one(tmp_path, [thing(truncated=1.0)], imgsize=[*SIZE, 3])
    assert item.box.tolist() == [30.0, 40.0, 130.0, 90.0]
    assert item.principal_point.tolist() == [80.0, 60.0]
    assert item.azimuth == pytest.approx(math.radians(40.0))
    assert item.elevation == pytest.approx(math.radians(12.0))
    assert item.theta == pytest.approx(math.radians(3.0))
    assert (item.truncated, item.occluded, item.difficult) == (True, False, False)
    assert (item.name, item.cad_index, item.size) == ("a", 1, SIZE)


def test_a_stretch_is_read_and_makes_the_cad_model_the_object(tmp_path: Path) -> None:
    item = load_one(tmp_path / "long", [thing(stretch=[1.0, 2.0, 0.5])])
    box = cuboid([-0.1, -0.2, -0.3], [0.1, 0.2, 0.3], 8)
    np.testing.assert_allclose(item.shape(box).extent, [0.2, 0.8, 0.3])
    assert load_one(tmp_path / "none", [thing()]).shape(box) is box


@pytest.mark.parametrize("stretch", [[1.0, 2.0], [1.0, 0.0, 1.0], [1.0, np.nan, 1.0]])
def test_a_stretch_that_is_none_is_named(tmp_path: Path, stretch: list[float]) -> None:
    with pytest.raises(DatasetError, match="stretch"):
        load_one(tmp_path / "broken", [thing(stretch=stretch)])


def test_a_symmetry_is_read_where_there_is_one(tmp_path: Path) -> None:
    assert load_one(tmp_path / "round", [thing(symmetry=0.0)]).symmetry == 0
    assert load_one(tmp_path / "none", [thing()]).symmetry is None


def test_focal_length_is_focal_times_viewport(tmp_path: Path) -> None:
    item = load_one(tmp_path, [thing(view=viewpoint(focal=2.0, viewport=300.0))])
    assert item.focal == 600.0
    assert item.K.tolist() == [[600.0, 0.0, 80.0], [0.0, 600.0, 60.0], [0.0, 0.0, 1.0]]


def test_pose_looks_at_the_front_for_azimuth_zero(tmp_path: Path) -> None:
    item = load_one(tmp_path, [thing(view=viewpoint(azimuth=0.0, elevation=0.0, theta=0.0))])
    front = item.T_cam_obj @ [0.0, -0.5, 0.0, 1.0]
    roof = item.T_cam_obj @ [0.0, 0.0, 0.5, 1.0]
    assert front[:3] == pytest.approx([0.0, 0.0, 3.5])  # nearer than the centre at 4
    assert roof[:3] == pytest.approx([0.0, -0.5, 4.0])  # up in the image


def test_fields_nested_in_singleton_cells(tmp_path: Path) -> None:
    def cell(value: object) -> np.ndarray:
        outer = np.empty((1, 1), dtype=object)
        outer[0, 0] = value
        return outer

    plain = load_one(tmp_path / "plain", [thing()])
    view = {key: cell(cell(value)) for key, value in viewpoint().items()}
    entry = thing(view=cell(view))
    entry = {key: cell(value) if key != "viewpoint" else value for key, value in entry.items()}
    nested = load_one(tmp_path / "nested", cell(struct_array([entry])))
    assert nested.K.tolist() == plain.K.tolist()
    assert nested.T_cam_obj.tolist() == plain.T_cam_obj.tolist()
    assert nested.box.tolist() == plain.box.tolist()


def test_cell_array_of_objects(tmp_path: Path) -> None:
    cells = np.empty((1, 2), dtype=object)
    cells[0, 0], cells[0, 1] = thing("person"), thing()
    item = load_one(tmp_path, cells)
    assert item.index == 1


def test_skips_are_counted_by_reason(tmp_path: Path) -> None:
    objects = [
        thing("person", view=[]),
        thing(view=[]),
        thing(view=viewpoint(distance=0.0)),
        thing(view=viewpoint(distance=None)),
        thing(view=viewpoint(azimuth=None, azimuth_coarse=None)),
        thing(bbox=[500.0, 20.0, 600.0, 40.0]),
        thing(bbox=[]),
        thing(),
        thing(cad_index=[]),
    ]
    write_object(tmp_path, "a", objects)
    write_set(tmp_path, "val", ["a", "b"])
    dataset = Pascal3D(tmp_path, "car", split="val")
    assert [item.index for item in dataset] == [7, 8]
    assert [item.cad_index for item in dataset] == [1, 0]
    assert dataset.skipped == Counter(
        {
            "other class": 1,
            "no viewpoint": 1,
            "distance 0 (only the coarse angles hold)": 2,
            "no azimuth or elevation": 1,
            "no box inside the image": 2,
            "no annotation file": 1,
        }
    )


def test_absent_fields_fall_back(tmp_path: Path) -> None:
    view = viewpoint(azimuth=[], theta=None, px=None, py=[], viewport=None, focal=None)
    item = load_one(tmp_path, [thing(view=view)])
    assert item.azimuth == pytest.approx(math.radians(45.0))  # azimuth_coarse
    assert item.theta == 0.0
    assert item.principal_point.tolist() == [80.0, 65.0]  # the box's middle
    assert item.focal == 3000.0


def test_box_is_clipped_to_the_image(tmp_path: Path) -> None:
    item = load_one(tmp_path, [thing(bbox=[-20.0, 0.0, 500.0, 121.0])])
    assert item.box.tolist() == [0.0, 0.0, SIZE[0] - 1, SIZE[1] - 1]


def test_size_from_imgsize_voc_struct_or_the_image(tmp_path: Path) -> None:
    assert load_one(tmp_path / "a", [thing()], imgsize=[*SIZE, 3]).size == SIZE
    voc = {"width": 160.0, "height": 120.0, "depth": 3.0}
    assert load_one(tmp_path / "b", [thing()], size=voc).size == SIZE
    assert load_one(tmp_path / "c", [thing()], imgsize=[]).size == SIZE


def test_grey_image_is_read_as_rgb(tmp_path: Path) -> None:
    grey = texture(np.random.default_rng(0))[..., 0]
    write_object(tmp_path, "a", [thing()], image=grey)
    write_set(tmp_path, "val", ["a"])
    image = Pascal3D(tmp_path, "car", split="val")[0].read_image()
    assert image.shape == (120, 160, 3)
    assert (image[..., 0] == image[..., 2]).all()


def test_colours_come_as_rgb(tmp_path: Path) -> None:
    blue_in_opencv = np.zeros((120, 160, 3), np.uint8)
    blue_in_opencv[..., 0] = 250
    write_object(tmp_path, "a", [thing()], image=blue_in_opencv)
    write_set(tmp_path, "val", ["a"])
    pixel = Pascal3D(tmp_path, "car", split="val")[0].read_image()[60, 80]
    assert pixel[2] > 200
    assert pixel[0] < 50


def test_pascal_source_reads_the_voc_sets(tmp_path: Path) -> None:
    for name in ("2008_000001", "2008_000002"):
        write_object(tmp_path, name, [thing()], source="pascal", suffix=".jpg")
    folder = tmp_path / "PASCAL" / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "car_val.txt").write_text("2008_000001  1\n2008_000002 -1\n")
    assert [item.name for item in Pascal3D(tmp_path, "car", "pascal", "val")] == ["2008_000001"]
    (folder / "car_val.txt").rename(folder / "val.txt")
    (folder / "val.txt").write_text("2008_000001\n2008_000002\n2008_000003\n")
    assert len(Pascal3D(tmp_path, "car", "pascal", "val")) == 2


def test_errors_name_the_file(tmp_path: Path) -> None:
    root = small_set(tmp_path)
    with pytest.raises(DatasetError, match=r"car_imagenet_val\.txt"):
        Pascal3D(root, "car", "imagenet", "val")
    with pytest.raises(DatasetError, match=r"test.*train-fit"):
        Pascal3D(root, "car", split="test")
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        Pascal3D(tmp_path / "nowhere", "car")
    image = root / "Images" / "car_stanford" / "00001.JPEG"
    image.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"00001\.JPEG: not a readable image"):
        Pascal3D(root, "car", split="val")[0].read_image()
    damaged = root / "Annotations" / "car_stanford" / "00002.mat"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"00002\.mat"):
        Pascal3D(root, "car", split="val")


def test_tune_part_splits_train_by_class(tmp_path: Path) -> None:
    root = small_set(tmp_path, 12, split="train")
    classes = {f"{k:05d}": f"model {k // 2}" for k in range(1, 13)}
    rows = "".join(f"{name},train,{label}\n" for name, label in classes.items())
    (root / "classes.csv").write_text("name,split,class\n" + rows)
    parts = {
        split: {item.name for item in Pascal3D(root, "car", split=split)}
        for split in ("train", "train-fit", "train-tune")
    }
    assert parts["train-tune"]
    assert parts["train-fit"] | parts["train-tune"] == parts["train"]
    held_out = {classes[name] for name in parts["train-tune"]}
    assert held_out.isdisjoint(classes[name] for name in parts["train-fit"])
    (root / "classes.csv").unlink()
    names = {item.name for item in Pascal3D(root, "car", split="train-tune")}
    assert names | {item.name for item in Pascal3D(root, "car", split="train-fit")} == set(classes)


def test_tune_groups_do_not_depend_on_order() -> None:
    groups = [f"class {k}" for k in range(100)]
    assert tune_groups(groups) == tune_groups(reversed(groups))
    assert len(tune_groups(groups)) == 8
    assert tune_groups(["a", "b"])  # never empty where there is a choice
    assert not tune_groups(["a"])


def test_subset_is_seeded_and_keeps_the_order() -> None:
    items = list(range(50))
    assert subset(items, None, 0) == items
    assert subset(items, 10, 1) == subset(items, 10, 1) == sorted(subset(items, 10, 1))
    assert subset(items, 10, 1) != subset(items, 10, 2)
    with pytest.raises(DatasetError, match="at least 1"):
        subset(items, 0, 0)


def stanford(shared_data: Path) -> Path:
    root = shared_data / "stanford_cars3d"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    return root


def test_stanford_cars_are_all_read(shared_data: Path) -> None:
    root = stanford(shared_data)
    counts = {}
    for split in ("train-fit", "train-tune", "val"):
        dataset = Pascal3D(root, "car", split=split)
        assert not dataset.skipped
        counts[split] = len(dataset)
    assert counts == {"train-fit": 5027, "train-tune": 408, "val": 1066}


def test_cad_fits_the_photos(shared_data: Path) -> None:
    """The projected CAD fills the annotated box: angles, K and pixel origin belong together."""
    dataset = Pascal3D(stanford(shared_data), "car", split="val")
    meshes = {index: load_off(dataset.cad_path(index)) for index in range(1, 6)}
    gaps = []
    for item in dataset:
        T = item.T_cam_obj
        points = meshes[item.cad_index].vertices @ T[:3, :3].T + T[:3, 3]
        uvw = points @ item.K.T
        uv = uvw[:, :2] / uvw[:, 2:]
        gaps.append(np.concatenate([uv.min(0), uv.max(0)]) - item.box)
    middle = np.median(gaps, axis=0)
    assert np.abs(middle).max() < 1.5
    centre = (middle[:2] + middle[2:]) / 2
    assert np.abs(centre).max() < 0.75  # px counted from 1 or from 0 differ by one pixel
    assert np.percentile(np.abs(gaps), 95) < 10
