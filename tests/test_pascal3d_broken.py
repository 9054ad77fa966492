# SPDX-License-Identifier: Apache-2.0
"""What PASCAL3D+'s files hold that is odd is read; what is broken is refused by file and field."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pascal3d_files import SIZE, struct_array, texture, thing, viewpoint, write_object, write_set
from PIL import Image
from scipy.io import savemat

from nemo_model.datasets.common import DatasetError, read_image
from nemo_model.datasets.pascal3d import Pascal3D


def load(root: Path, objects: Any, source: str = "stanford", **record: Any) -> Pascal3D:
    write_object(root, "n01_1", objects, source=source, **record)
    write_set(root, "val", ["n01_1"], source)
    return Pascal3D(root, "car", source, "val")


# --- the two halves as they are


def test_a_record_of_the_imagenet_half(tmp_path: Path) -> None:
    """All fields of the real files, several objects, one of another class without viewpoint."""
    keypoint = {"location": [70.0, 60.0], "status": 1.0}
    full = viewpoint(
        interval_azimuth=5.0, interval_elevation=5.0, num_anchor=6.0, error=8.5, viewport=3000.0
    )
    anchors = {"left_front_wheel": keypoint, "right_front_wheel": {"location": [], "status": 2.0}}
    objects = [
        thing(view=full, anchors=anchors),
        thing("bus", view=[], cad_index=[], anchors=[]),
        thing(bbox=[5.0, 5.0, 60.0, 50.0], view=viewpoint(distance=0.0, azimuth=[], px=[], py=[])),
        thing(bbox=[91.0, 11.0, 150.0, 60.0], cad_index=7.0, view=full),
    ]
    cars = load(tmp_path, objects, "imagenet", imgsize=[*SIZE, 3.0], database="ImageNet")
    assert [(item.index, item.cad_index) for item in cars] == [(0, 1), (3, 7)]
    assert cars[0].focal == 3000.0
    assert cars.skipped == Counter(
        {"other class": 1, "distance 0 (only the coarse angles hold)": 1}
    )


def test_a_record_of_the_pascal_half(tmp_path: Path) -> None:
    """VOC's fields come along; a photo may have objects of VOC classes that have no CAD."""
    voc = {
        "folder": "VOC2012",
        "size": {"width": float(SIZE[0]), "height": float(SIZE[1]), "depth": 3.0},
        "segmented": 0.0, "imgname": "VOC2012/JPEGImages/n01_1.jpg", "imgsize": [*SIZE, 3.0],
        "database": "The VOC2012 Database",
    }  # fmt: skip
    box = {"xmin": 31.0, "ymin": 41.0, "xmax": 131.0, "ymax": 91.0}
    car = thing(label="PAScarLeft", orglabel="PAScarLeft", bndbox=box, view=None)
    car["viewpoint"] = viewpoint()
    person = thing("person", view=[], bndbox=box, hasparts=1.0, part=[], cad_index=[])
    cars = load(tmp_path, [person, car], "pascal", suffix=".jpg", **voc)
    assert [item.index for item in cars] == [1]
    assert cars[0].image_path.name == "n01_1.jpg"


# --- odd images


def test_cmyk_photos_come_as_rgb(tmp_path: Path) -> None:
    """Two of ImageNet's JPEGs are CMYK."""
    picture = Image.new("RGB", (32, 24), (200, 40, 30)).convert("CMYK")
    picture.save(tmp_path / "cmyk.jpg")
    image = read_image(tmp_path / "cmyk.jpg")
    assert image.shape == (24, 32, 3)
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - [200, 40, 30]).max() < 25


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_other_kinds_of_images_come_as_rgb(tmp_path: Path, mode: str) -> None:
    grey = texture(np.random.default_rng(0))[..., 0]
    if mode == "I;16":
        cv2.imwrite(str(tmp_path / "odd.png"), grey.astype(np.uint16) * 257)
    else:
        Image.fromarray(grey).convert(mode).save(tmp_path / "odd.png")
    image = read_image(tmp_path / "odd.png")
    assert (image.shape, image.dtype) == ((*grey.shape, 3), np.uint8)
    if mode != "1":
        assert np.abs(image[..., 1].astype(int) - grey).max() <= 2


def test_a_png_that_is_called_jpeg(tmp_path: Path) -> None:
    """ImageNet has one."""
    code = cv2.imencode(".png", texture(np.random.default_rng(0)))[1]
    (tmp_path / "png.JPEG").write_bytes(code.tobytes())
    assert read_image(tmp_path / "png.JPEG").shape == (SIZE[1], SIZE[0], 3)


def test_a_truncated_image_is_refused_or_whole(tmp_path: Path) -> None:
    (tmp_path / "cut.JPEG").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(DatasetError, match=r"cut\.JPEG: not a readable image"):
        read_image(tmp_path / "cut.JPEG")


# --- broken


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (thing(view=viewpoint(azimuth="left")), "azimuth is no number"),
        (thing(view=viewpoint(elevation=np.nan)), "elevation is not finite"),
        (thing(view=viewpoint(theta=np.inf)), "theta is not finite"),
        (thing(view=viewpoint(distance=-3.0)), "distance is -3, must not be negative"),
        (thing(view=viewpoint(focal=-1.0)), "focal is -1"),
        (thing(view=viewpoint(px=np.nan)), "px is not finite"),
        (thing(bbox=[1.0, 2.0, 3.0]), "bbox holds 3 numbers"),
        (thing(bbox=[1.0, 2.0, np.nan, 4.0]), "bbox is not finite"),
        (thing(cad_index=1.5), "cad_index is 1.5"),
        (thing(cad_index=-1.0), "cad_index is -1"),
        (thing(truncated="yes"), "truncated is no number"),
    ],
)
def test_a_broken_field_is_named(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        load(tmp_path, [thing(), entry])
    assert f"n01_1.mat: object 2 (car): {words}" in str(caught.value)


def test_what_is_broken_in_other_classes_does_not_matter(tmp_path: Path) -> None:
    odd = thing("person", view=viewpoint(azimuth="left"), bbox=[1.0])
    assert len(load(tmp_path, [odd, thing()])) == 1


def test_a_record_without_objects_is_named(tmp_path: Path) -> None:
    load(tmp_path, [thing()])
    path = tmp_path / "Annotations" / "car_stanford" / "n01_1.mat"
    savemat(path, {"record": {"filename": "n01_1.JPEG"}})
    with pytest.raises(DatasetError, match=r"n01_1\.mat: record has no field 'objects'"):
        Pascal3D(tmp_path, "car", split="val")
    savemat(path, {"other": 1.0})
    with pytest.raises(DatasetError, match=r"n01_1\.mat: holds no struct named 'record'"):
        Pascal3D(tmp_path, "car", split="val")


def test_an_annotation_without_objects_is_none(tmp_path: Path) -> None:
    write_object(tmp_path, "empty", np.zeros((0, 0)))
    write_object(tmp_path, "full", [thing()])
    write_set(tmp_path, "val", ["empty", "full"])
    assert [item.name for item in Pascal3D(tmp_path, "car", split="val")] == ["full"]


# --- CAD models in MATLAB's form


def test_cads_of_the_matlab_file(tmp_path: Path) -> None:
    """CAD/car.mat: a struct array named after the category, keypoints beside the mesh."""
    cars = load(tmp_path, [thing()])
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[1, 2, 3], [1, 2, 4]], dtype=np.uint16)
    models = [{"vertices": corners * k, "faces": faces, "wheel": []} for k in (1.0, 2.0)]
    (tmp_path / "CAD").mkdir()
    savemat(tmp_path / "CAD" / "car.mat", {"car": struct_array(models)})
    assert list(cars.cads) == [1, 2]
    np.testing.assert_array_equal(cars.cad(2).vertices, 2 * corners)
    np.testing.assert_array_equal(cars.cad(1).faces, [[0, 1, 2], [0, 1, 3]])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"vertices": np.eye(3), "faces": [[1, 2, 4]]}, "CAD model 1: mesh: a face names"),
        ({"vertices": np.eye(3), "faces": [[0, 1, 2]]}, "CAD model 1: mesh: a face names"),
        ({"vertices": np.ones((4, 2)), "faces": [[1, 2, 3]]}, "vertices have shape (4, 2)"),
        ({"vertices": np.eye(3), "faces": []}, "CAD model 1: has no vertices or faces"),
    ],
)
def test_a_broken_cad_is_named(tmp_path: Path, model: dict[str, Any], words: str) -> None:
    cars = load(tmp_path, [thing()])
    (tmp_path / "CAD").mkdir()
    savemat(tmp_path / "CAD" / "car.mat", {"car": struct_array([model])})
    with pytest.raises(DatasetError) as caught:
        _ = cars.cads
    assert "car.mat" in str(caught.value)
    assert words in str(caught.value)


def test_without_cads_all_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"CAD/car, .*CAD/car\.mat, .*CAD/cads\.mat"):
        _ = load(tmp_path, [thing()]).cads


def test_a_category_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    sets = tmp_path / "Image_sets"
    sets.mkdir()
    (sets / "car_imagenet_val.txt").write_text("n1\n")
    with pytest.raises(DatasetError, match=r"bus_imagenet_val\.txt; there is car_imagenet_val$"):
        len(Pascal3D(tmp_path, "bus", "imagenet", "val"))
