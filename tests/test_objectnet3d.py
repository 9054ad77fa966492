# SPDX-License-Identifier: Apache-2.0
"""ObjectNet3D: flat folders, all categories in one list, its defaults, MATLAB 7.3, its CADs."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matlab73 import Writer
from pascal3d_files import SIZE, struct_array, texture, thing, viewpoint, write_cad
from scipy.io import savemat

from nemo_model.datasets import matfile
from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.layout import layout
from nemo_model.datasets.pascal3d import Pascal3D

IDS = ("n02690373_1", "n03761084_13592", "n04379243_7")
QUADS = np.array([[1, 2, 3], [1, 2, 4], [1, 3, 4], [2, 3, 4]])
CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def coarse(**changes: Any) -> dict[str, Any]:
    """A viewpoint as its annotation tool saves it: the aligned angles are the 'coarse' ones."""
    fields = {"azimuth": None, "elevation": None, "viewport": 2000.0, "error": None}
    return viewpoint(**(fields | changes))


def record(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    size = {"width": float(SIZE[0]), "height": float(SIZE[1]), "depth": 3.0}
    return {
        "filename": f"{name}.JPEG", "folder": "images", "database": "ImageNet",
        "imgsize": [*SIZE, 3.0], "size": size, "objects": objects,
    }  # fmt: skip


def write(root: Path, name: str, objects: list[dict[str, Any]], version: str = "5") -> None:
    """One image and its annotation, in MATLAB's older form or in version 7.3."""
    for folder in (root / "Images", root / "Annotations", root / "Image_sets"):
        folder.mkdir(parents=True, exist_ok=True)
    image = texture(np.random.default_rng(len(name)))
    cv2.imwrite(str(root / "Images" / f"{name}.JPEG"), image)
    path = root / "Annotations" / f"{name}.mat"
    if version == "7.3":  # MATLAB keeps a 1 x 1 struct array as a plain struct
        Writer(path).write(record=record(objects if len(objects) > 1 else objects[0], name))  # type: ignore[arg-type]
    else:
        savemat(path, {"record": record(objects, name) | {"objects": struct_array(objects)}})
    listed = root / "Image_sets" / "val.txt"
    old = listed.read_text() if listed.is_file() else ""
    listed.write_text(old + f"{name}\n")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_objects_of_a_category_among_others(tmp_path: Path, version: str) -> None:
    bed = thing("bed", view=coarse(), cad_index=3.0, shapenet=[])
    write(tmp_path, IDS[0], [thing("chair", view=coarse()), bed], version)
    write(tmp_path, IDS[1], [thing("chair", view=[]), thing("lamp", view=[])], version)
    write(tmp_path, IDS[2], [bed], version)
    beds = Pascal3D(tmp_path, "bed", "objectnet3d", "val")
    assert [(item.name, item.index) for item in beds] == [(IDS[0], 1), (IDS[2], 0)]
    assert beds.skipped == Counter({"other class": 3})
    item = beds[0]
    assert item.azimuth == pytest.approx(math.radians(45.0))
    assert item.elevation == pytest.approx(math.radians(10.0))
    assert item.theta == pytest.approx(math.radians(3.0))
    assert (item.focal, item.distance, item.cad_index, item.size) == (2000.0, 4.0, 3, SIZE)
    assert item.box.tolist() == [30.0, 40.0, 130.0, 90.0]
    assert item.read_image().shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_what_its_toolbox_makes_up_for(tmp_path: Path, version: str) -> None:
    """Empty theta, focal, viewport and centre: 0, 1, 2000 and the box's middle."""
    view = coarse(theta=[], focal=[], viewport=[], px=[], py=[])
    write(tmp_path, IDS[0], [thing("bed", view=view)], version)
    item = Pascal3D(tmp_path, "bed", "objectnet3d", "val")[0]
    assert (item.theta, item.focal) == (0.0, 2000.0)
    assert item.principal_point.tolist() == [80.0, 65.0]


def test_what_was_never_aligned_is_left_out(tmp_path: Path) -> None:
    """No distance: its toolbox draws such a model at 5, which is no annotation."""
    objects = [
        thing("bed", view=coarse(distance=[])),
        thing("bed", view=coarse(distance=None)),
        thing("bed", view=coarse(focal=0.0)),
        thing("bed", view=coarse(azimuth_coarse=None)),
        thing("bed", view=coarse()),
    ]
    write(tmp_path, IDS[0], objects)
    beds = Pascal3D(tmp_path, "bed", "objectnet3d", "val")
    assert [item.index for item in beds] == [4]
    assert beds.skipped == Counter(
        {
            "distance 0 (only the coarse angles hold)": 2,
            "focal length 0 (not aligned)": 1,
            "no azimuth or elevation": 1,
        }
    )


def test_splits_and_lists(tmp_path: Path) -> None:
    write(tmp_path, IDS[0], [thing("bed", view=coarse())])
    listed = tmp_path / "Image_sets" / "val.txt"
    (tmp_path / "Image_sets" / "test.txt").write_text(f"{IDS[0]}.JPEG\n{IDS[1]}\n")
    test = Pascal3D(tmp_path, "bed", "objectnet3d", "test")
    assert [item.name for item in test] == [IDS[0]]  # lists of image files are understood
    assert test.skipped == Counter({"no annotation file": 1})
    listed.unlink()
    with pytest.raises(DatasetError, match=r"no image set.*Image_sets/val\.txt"):
        Pascal3D(tmp_path, "bed", "objectnet3d", "val")
    with pytest.raises(DatasetError, match=r"no usable 'door'.*'other class': 1"):
        Pascal3D(tmp_path, "door", "objectnet3d", "test")
    with pytest.raises(DatasetError, match=r"source 'objectnet' is not known"):
        Pascal3D(tmp_path, "bed", "objectnet", "val")


def test_off_files_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, IDS[0], [thing("car", view=coarse())])
    write_cad(tmp_path, 2)
    (tmp_path / "CAD" / "off").mkdir()
    (tmp_path / "CAD" / "car").rename(tmp_path / "CAD" / "off" / "car")
    cars = Pascal3D(tmp_path, "car", "objectnet3d", "val")
    assert list(cars.cads) == [2]
    assert cars.cad_path(2).parent == tmp_path / "CAD" / "off" / "car"
    with pytest.raises(DatasetError, match=r"no CAD model 9 of 'car', only 2"):
        cars.cad(9)


def cads_mat(path: Path, version: str) -> None:
    """CAD/cads.mat: one struct array per class in a cell array, beside the classes' names."""
    models = [{"vertices": CORNERS * k, "faces": QUADS} for k in (1.0, 2.0)]
    path.parent.mkdir(parents=True, exist_ok=True)
    if version == "7.3":
        Writer(path).write(cads=(models, models[:1]), class_names=("bed", "door"))
        return
    cads, names = np.empty((2, 1), dtype=object), np.empty((2, 1), dtype=object)
    cads[:, 0] = [struct_array(models), struct_array(models[:1])]
    names[:, 0] = ["bed", "door"]
    savemat(path, {"cads": cads, "class_names": names})


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_cads_in_one_matlab_file(tmp_path: Path, version: str) -> None:
    write(tmp_path, IDS[0], [thing("bed", view=coarse()), thing("lamp", view=coarse())])
    cads_mat(tmp_path / "CAD" / "cads.mat", version)
    beds = Pascal3D(tmp_path, "bed", "objectnet3d", "val")
    assert list(beds.cads) == [1, 2]
    np.testing.assert_array_equal(beds.cad(2).vertices, CORNERS * 2)
    np.testing.assert_array_equal(beds.cad(1).faces, QUADS - 1)  # MATLAB counts from 1
    with pytest.raises(DatasetError, match=r"cads\.mat: .* no 'lamp'"):
        _ = Pascal3D(tmp_path, "lamp", "objectnet3d", "val").cads


def test_a_damaged_73_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, IDS[0], [thing("bed", view=coarse())], "7.3")
    path = layout(tmp_path, "bed", "objectnet3d").annotation(IDS[0])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=rf"{IDS[0]}\.mat: not a readable MATLAB 7\.3 file"):
        Pascal3D(tmp_path, "bed", "objectnet3d", "val")


def test_73_without_h5py_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, IDS[0], [thing("bed", view=coarse())], "7.3")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DatasetError, match="pip install h5py"):
        matfile.load_struct(tmp_path / "Annotations" / f"{IDS[0]}.mat", "record")
