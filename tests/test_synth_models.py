# SPDX-License-Identifier: Apache-2.0
"""Models of `nemo synth`: AC3D and MTL files, the object frame, the table, splits, packages."""

from __future__ import annotations

import dataclasses
import hashlib

import cv2
import numpy as np
import pytest
import synth_files

from nemo_model.errors import NemoError
from nemo_model.synth import packages
from nemo_model.synth.ac3d import read_ac
from nemo_model.synth.catalogue import (
    TABLE,
    categories,
    of_category,
    read_table,
    split_families,
)  # fmt: skip
from nemo_model.synth.materials import mtl_of, read_mtl
from nemo_model.synth.model import OPACITY, TEXTURE, load_model, rotation_to_object
from nemo_model.synth.prior import prior
from nemo_model.synth.simplify import simplified
from nemo_model.synth.store import stored_model


def test_an_ac3d_file_gives_points_textures_and_materials(tmp_path):
    path = tmp_path / "plane.ac"
    path.write_text(synth_files.PLANE)
    soup, materials = read_ac(path)
    assert soup.points.shape == (6, 3, 3)  # three of the body, two of the wing, one disc; no line
    np.testing.assert_allclose(soup.points[0, 0], [-4, 1, 0])  # loc is added
    np.testing.assert_allclose(soup.uv[0], [[0, 0], [2, 0], [2, 1]])  # texrep multiplies
    np.testing.assert_allclose(np.linalg.norm(soup.normals, axis=2), 1.0)
    assert [m.texture for m in materials] == ["skin.png", ""]
    assert materials[0].specular == pytest.approx(0.5)
    without, _ = read_ac(path, "disc")
    assert len(without.points) == 5


def test_an_ac3d_object_turns_its_children(tmp_path):
    path = tmp_path / "turned.ac"
    quarter = "rot 0 1 0 -1 0 0 0 0 1"  # x to y, y to -x
    text = synth_files.PLANE.replace("rot 1 0 0 0 1 0 0 0 1", quarter)
    path.write_text(text)
    soup, _ = read_ac(path, "body|disc")
    np.testing.assert_allclose(soup.points[0], [[-1, -1, -5], [-1, 1, -5], [-1, 1, 5]])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AC3Db", "AC4D"),
        ("numvert 5", "numvert many"),
        ("refs 4", "refs 9"),
        ("3 1 1\n", "77 1 1\n"),
        ("SURF 0x20\nmat 0\nrefs 4", "SURF 0x20\nmat 0"),
    ],
)
def test_a_broken_ac3d_file_is_refused_by_name(tmp_path, old, new):
    path = tmp_path / "bad.ac"
    path.write_text(synth_files.PLANE.replace(old, new, 1))
    with pytest.raises(NemoError, match=r"bad\.ac"):
        read_ac(path)


def test_an_ac3d_file_that_ends_before_its_last_child_is_read(tmp_path):
    path = tmp_path / "short.ac"
    path.write_text(synth_files.PLANE.replace("kids 3", "kids 4"))
    assert len(read_ac(path)[0].points) == 6


def test_an_mtl_file_gives_colours_opacity_and_textures(tmp_path):
    path = tmp_path / "a.mtl"
    path.write_text(
        "newmtl a b\nKd 0.1 0.2 0.3\nd 0.25\nmap_Kd -s 1 1 1 x.png\nnewmtl c\nTr 0.25\n"
    )
    found = read_mtl(path)
    assert found["a b"].colour == (0.1, 0.2, 0.3)
    assert (found["a b"].opacity, found["a b"].texture) == (0.25, "x.png")
    assert found["c"].opacity == 0.75
    path.write_text("newmtl a\nKd red\n")
    with pytest.raises(NemoError, match=r"a\.mtl: line 2"):
        read_mtl(path)
    (tmp_path / "a.obj").write_text("mtllib gone.mtl\n")
    assert mtl_of(tmp_path / "a.obj") == {}


@pytest.mark.parametrize(("up", "front"), [("y", "z"), ("y", "-x"), ("z", "-y"), ("-x", "y")])
def test_up_and_front_of_a_file_become_z_and_minus_y(up, front):
    R = rotation_to_object(up, front)
    sign = {name: (-1.0 if name[0] == "-" else 1.0) for name in (up, front)}
    for name, wanted in ((up, [0, 0, 1]), (front, [0, -1, 0])):
        np.testing.assert_allclose(R @ (sign[name] * np.eye(3)["xyz".index(name[-1])]), wanted)
    assert np.linalg.det(R) == pytest.approx(1.0)  # never a mirror image


def test_a_chair_stands_upright_with_its_back_at_the_back(tmp_path):
    entries = synth_files.write_cache(tmp_path)
    model = stored_model(entries[0], tmp_path)
    flat = model.points.reshape(-1, 3)
    np.testing.assert_allclose(flat.max(0) + flat.min(0), 0.0, atol=1e-6)  # centred
    assert np.linalg.norm(model.extent) == pytest.approx(1.0, abs=1e-6)
    back = flat[flat[:, 2] > 0.9 * flat[:, 2].max()]  # what is highest is the back
    assert back[:, 1].min() > 0.0  # which is behind, the front being at -y
    assert model.table[:, TEXTURE].tolist() == [-1.0, 0.0]
    assert (model.table[:, OPACITY] == 1.0).all()
    again = stored_model(dataclasses.replace(entries[0]), tmp_path)  # from the cache
    np.testing.assert_array_equal(again.points, model.points)


def test_what_cannot_be_seen_is_not_part_of_a_model(tmp_path):
    (tmp_path / "a.obj").write_text(synth_files.chair_obj(30.0))
    mtl = synth_files.MTL.replace("Ns 30", "Ns 30\nd 0.01").replace("map_Kd cloth.png\n", "")
    (tmp_path / "chair.mtl").write_text(mtl)
    assert len(load_model(tmp_path / "a.obj", "y", "z").points) == 12  # the back is left
    (tmp_path / "chair.mtl").write_text(mtl.replace("Kd 1 1 1", "Kd 1 1 1\nd 0"))
    with pytest.raises(NemoError, match=r"a\.obj: nothing of it can be seen"):
        load_model(tmp_path / "a.obj", "y", "z")


def test_a_texture_with_holes_is_seen_through(tmp_path):
    (tmp_path / "a.obj").write_text(synth_files.chair_obj(30.0))
    (tmp_path / "chair.mtl").write_text(synth_files.MTL)
    rgba = np.full((8, 8, 4), 255, np.uint8)
    rgba[:, :4, 3] = 0
    cv2.imwrite(str(tmp_path / "cloth.png"), rgba)
    model = load_model(tmp_path / "a.obj", "y", "z")
    assert 0 < model.clear.sum() <= 12


def test_simplifying_keeps_the_outline(tmp_path):
    entries = synth_files.write_cache(tmp_path)
    points = stored_model(entries[0], tmp_path).points
    whole = simplified(points)
    assert len(whole.faces) == len(points) == 48
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(4000, 1, 3))
    cloud /= 2 * np.linalg.norm(cloud, axis=2, keepdims=True)
    many = cloud + 0.02 * rng.normal(size=(4000, 3, 3))
    small = simplified(many, 1000)
    assert 200 < len(small.faces) <= 1000
    assert np.abs(small.hi - many.max((0, 1))).max() < 0.1


def test_splits_are_by_family_and_do_not_depend_on_order():
    families = [f"f{k}" for k in range(20)]
    train, val = (split_families(families[::-1], split) for split in ("train", "val"))
    assert len(val) == 5
    assert not set(train) & set(val)
    assert set(train) | set(val) == set(families)
    assert split_families(families * 2, "val") == val
    with pytest.raises(NemoError, match="test"):
        split_families(families, "test")
    with pytest.raises(NemoError, match="1 families"):
        split_families(["one"], "val")


def test_the_table_has_enough_families_of_five_categories():
    table = read_table()
    many = {"aeroplane", "car", "chair", "diningtable", "sofa"}
    for category in categories(table):
        mine = of_category(table, category)
        assert len({e.family for e in mine}) >= (12 if category in many else 2)
        assert len({(e.archive, e.path) for e in mine}) == len(mine)
        assert 0.1 < prior(mine).size_m[2] < 20.0
        assert {e.package for e in mine} <= set(packages.PACKAGES)
    assert prior(of_category(table, "diningtable")).symmetry == 2
    assert prior(of_category(table, "chair")).symmetry == 1
    assert prior(of_category(table, "bottle")).symmetry == 0
    assert many <= set(categories(table))


def test_the_size_prior_counts_each_family_once():
    a = synth_files.entry("a", "one", width_m=1.0, length_m=1.0, height_m=1.0, symmetry=4)
    b = dataclasses.replace(a, family="two", width_m=3.0, length_m=3.0, height_m=3.0, symmetry=0)
    found = prior([a, a, a, b])
    assert found.size_m == (2.0, 2.0, 2.0)
    assert (found.sigma, found.symmetry, found.families) == (pytest.approx(0.5), 4, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("category,", "kind,", "column category"),
        (",y,z,", ",y,-y,", "same axis"),
        (",y,z,", ",y,w,", "front is 'w'"),
        (",sweethome3d-furniture,", ",,", "package is empty"),
        ("0.9", "tall", "no number"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(tmp_path, old, new, message):
    header = TABLE.read_text(encoding="utf-8").splitlines()[0]
    path = tmp_path / "models.csv"
    row = "chair,f,sweethome3d-furniture,a.sh3f,a.obj,y,z,0.4,0.4,0.9,1,CC0-1.0,me,\n"
    path.write_text(f"{header}\n{row}".replace(old, new))
    with pytest.raises(NemoError, match=message):
        read_table(path)


def test_packages_that_are_not_there_are_named(tmp_path):
    entries = synth_files.write_cache(tmp_path)
    with pytest.raises(NemoError, match="nemo synth fetch"):
        stored_model(entries[0], tmp_path / "elsewhere")
    with pytest.raises(NemoError, match=r"holds no shop/gone\.obj"):
        stored_model(dataclasses.replace(entries[0], path="shop/gone.obj"), tmp_path)
    with pytest.raises(NemoError, match="'gone' is not known"):
        packages.fetch(["gone"], tmp_path)


def test_a_damaged_download_is_refused(tmp_path):
    package = dataclasses.replace(
        packages.PACKAGES["opencity-data"], version="1:1.0", sha256=hashlib.sha256(b"x").hexdigest()
    )
    deb = tmp_path / "opencity-data_1%3a1.0_all.deb"
    deb.write_bytes(b"x")
    packages.check(deb, package)
    deb.write_bytes(b"y")
    with pytest.raises(NemoError, match="damaged"):
        packages.check(deb, package)
