# SPDX-License-Identifier: Apache-2.0
"""`nemo make-mesh`: the paper's cuboids, closed meshes of CAD soups, the file and the picture."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
from pascal3d_files import write_cad

from nemo_model.commands import make_mesh as command
from nemo_model.datasets.cad import load_cads
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh, cuboid
from nemo_model.meshes.make import KINDS, make_meshes
from nemo_model.meshes.meshset import MeshSet, SubtypeMesh, index_of, split
from nemo_model.meshes.preview import CELL, VIEWS, contact_sheet
from nemo_model.meshes.quality import silhouette_overlap
from nemo_model.meshes.simplify import simplify

BLOCK = cuboid((-0.2, -0.4, -0.15), (0.2, 0.4, 0.15), 8)
LONG = cuboid((-0.1, -0.45, -0.1), (0.1, 0.45, 0.1), 8)


def soup(mesh: Mesh) -> Mesh:
    """The mesh as CAD files have it: every triangle with corners of its own, every other turned."""
    faces = mesh.faces.copy()
    faces[::2] = faces[::2, ::-1]
    return Mesh(mesh.vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3))


def together(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


# --- simplify


@pytest.mark.parametrize("n", [300, 1000])
def test_a_soup_becomes_one_closed_mesh_of_its_shape(n: int) -> None:
    mesh = simplify(soup(BLOCK), n)
    assert abs(len(mesh.vertices) - n) <= 0.15 * n
    edges = np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    there, back = ({tuple(edge) for edge in e.tolist()} for e in (edges, edges[:, ::-1]))
    assert there == back  # closed, and wound one way
    assert volume(mesh) == pytest.approx(volume(BLOCK), rel=0.1)  # outwards: positive
    assert silhouette_overlap(mesh, BLOCK) > 0.96
    lengths = np.linalg.norm(np.diff(mesh.vertices[edges], axis=1)[:, 0], axis=1)
    assert np.percentile(lengths, 95) < 3 * np.median(lengths)  # no large face is left


def test_what_is_inside_costs_no_vertices() -> None:
    """A box within a box cannot be seen."""
    inner = cuboid((-0.05, -0.1, -0.05), (0.05, 0.1, 0.05), 8)
    np.testing.assert_allclose(
        simplify(together(BLOCK, inner), 400).extent, simplify(BLOCK, 400).extent, atol=0.02
    )
    mesh = simplify(together(BLOCK, inner), 400)
    assert np.abs(mesh.vertices / BLOCK.hi).max(axis=1).min() > 0.8  # all on the outer one


def test_thin_parts_stay() -> None:
    """A rod of a tenth of a voxel's thickness is still there, all along."""
    rod = cuboid((-0.002, -0.5, 0.3), (0.002, 0.5, 0.304), 8)
    mesh = simplify(together(BLOCK, rod), 600)
    along = mesh.vertices[mesh.vertices[:, 2] > 0.25][:, 1]
    assert along.min() < -0.45
    assert along.max() > 0.45
    assert np.diff(np.unique(np.round(along, 3))).max() < 0.1


def test_the_same_mesh_each_time() -> None:
    one, two = simplify(soup(BLOCK), 300), simplify(soup(BLOCK), 300)
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.faces, two.faces)


def test_nothing_to_simplify_is_refused() -> None:
    with pytest.raises(NemoError, match="no surface"):
        simplify(Mesh(np.zeros((3, 3)), [[0, 1, 2]]))
    with pytest.raises(NemoError, match="too few"):
        simplify(BLOCK, 10)


def test_overlap_of_silhouettes() -> None:
    assert silhouette_overlap(BLOCK, BLOCK) == 1.0
    half = Mesh(BLOCK.vertices * [1.0, 1.0, 0.5], BLOCK.faces)
    moved = Mesh(BLOCK.vertices + np.array([0.0, 2.0, 0.0]), BLOCK.faces)
    assert 0.4 < silhouette_overlap(half, BLOCK) < 0.9
    assert silhouette_overlap(moved, BLOCK) < 0.2


# --- kinds


def test_one_cuboid_for_all_or_one_for_each() -> None:
    cads = {2: BLOCK, 5: LONG}
    single = make_meshes(cads, "car", "single-cuboid", 300, share=1.0)
    assert [each.subtype for each in single.meshes] == [0]
    np.testing.assert_allclose(single.meshes[0].mesh.hi, np.maximum(BLOCK.hi, LONG.hi))
    multi = make_meshes(cads, "car", "multi-cuboid", 300, share=1.0)
    assert [each.subtype for each in multi.meshes] == [2, 5]
    np.testing.assert_allclose(multi.of(2).mesh.hi, BLOCK.hi)
    np.testing.assert_allclose(multi.of(5).mesh.hi, LONG.hi)
    np.testing.assert_allclose(np.abs(multi.of(5).outline), np.tile(LONG.hi, (200, 1)))
    with pytest.raises(NemoError, match=r"no mesh of sub-type 3; there are 2, 5"):
        multi.of(3)
    assert single.of(3) is single.meshes[0]  # it stands for all


def test_a_cuboid_holds_99_percent_of_the_vertices_per_axis() -> None:
    antenna = np.array([[0.0, 0.0, 0.15 + 0.01 * k] for k in range(1, 4)])
    body = cuboid(BLOCK.lo, BLOCK.hi, 1000)
    cad = Mesh(np.concatenate([body.vertices, antenna]), body.faces)
    found = make_meshes({1: cad}, "car", "multi-cuboid").of(1).mesh
    assert found.hi[2] == pytest.approx(0.15)


def test_unknown_kinds_and_empty_categories_are_refused() -> None:
    with pytest.raises(NemoError, match=r"kind 'box'.*single-cuboid, multi-cuboid, cad"):
        make_meshes({1: BLOCK}, "car", "box")
    with pytest.raises(NemoError, match="no CAD model of 'car'"):
        make_meshes({}, "car", "cad")
    flat = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    with pytest.raises(NemoError, match="CAD model 4: cuboid: extents"):
        make_meshes({1: BLOCK, 4: flat}, "car", "multi-cuboid")


# --- the file


def test_a_set_survives_its_file(tmp_path: Path) -> None:
    made = make_meshes({2: BLOCK, 5: LONG}, "car", "multi-cuboid", 100)
    made.save(tmp_path / "new" / "car.npz")
    read = MeshSet.load(tmp_path / "new" / "car.npz")
    assert (read.category, read.kind) == ("car", "multi-cuboid")
    for one, two in zip(made.meshes, read.meshes, strict=True):
        assert one.subtype == two.subtype
        np.testing.assert_allclose(one.mesh.vertices, two.mesh.vertices, atol=1e-7)
        np.testing.assert_array_equal(one.mesh.faces, two.mesh.faces)
        np.testing.assert_allclose(one.outline, two.outline, atol=1e-7)
    whole, owner = read.joined()
    assert owner.tolist() == [2] * len(made.of(2).mesh.vertices) + [5] * len(
        made.of(5).mesh.vertices
    )
    assert len(whole.faces) == sum(len(each.mesh.faces) for each in made.meshes)


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "car.npz"
    make_meshes({2: BLOCK, 5: LONG}, "car", "multi-cuboid", 100).save(path)
    with np.load(path) as data:
        arrays = dict(data)
    faces = arrays["faces"].copy()
    faces[0, 0] = len(arrays["vertices"]) - 1
    for changes, words in (
        ({"faces": faces}, "joins vertices of two"),
        ({"subtype": arrays["subtype"][:-1]}, "one number per vertex"),
        ({"outline_subtype": np.full(400, 2)}, "fewer than 4 outline points"),
        ({"vertices": arrays["vertices"][:, :2]}, "vertices of shape"),
    ):
        np.savez(path, **arrays | changes)
        with pytest.raises(NemoError, match=rf"car\.npz: .*{words}"):
            MeshSet.load(path)
    with pytest.raises(NemoError, match=r"none\.npz"):
        MeshSet.load(tmp_path / "none.npz")
    with pytest.raises(NemoError, match="each once"):
        MeshSet("car", "cad", (SubtypeMesh(1, BLOCK, BLOCK.vertices),) * 2)


def test_places_of_sub_types() -> None:
    assert index_of([2, 5], 5) == 1
    assert index_of([0], 5) == 0
    whole, owner = make_meshes({2: BLOCK, 5: LONG}, "car", "multi-cuboid", 100).joined()
    with pytest.raises(ValueError, match="one number per vertex"):
        split(whole, owner[1:], np.zeros((4, 3)), np.zeros(4))


# --- the command


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_command(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_cad(tmp_path, 1)
    write_cad(tmp_path, 10)
    (tmp_path / "CAD" / "car" / "readme.off").write_text("not a number")
    out = tmp_path / "meshes" / "car.npz"
    words = ("--cad", tmp_path, "--category", "car", "--kind", kind, "--vertices", 200)
    assert run(*words, "--out", out) == 0
    made = MeshSet.load(out)
    assert [each.subtype for each in made.meshes] == ([0] if kind == "single-cuboid" else [1, 10])
    sheet = cv2.imread(str(out.with_suffix(".png")))
    assert sheet.shape == (CELL * len(made.meshes), CELL * len(VIEWS), 3)
    assert f"car {kind}: silhouettes overlap" in capsys.readouterr().out
    with pytest.raises(NemoError, match=r"car\.npz: is there already.*--overwrite"):
        run(*words, "--out", out)
    run(*words, "--out", out, "--overwrite")


def test_the_command_refuses_what_cannot_be(tmp_path: Path) -> None:
    write_cad(tmp_path, 1)
    words = ("--cad", tmp_path, "--category", "car", "--out", tmp_path / "car.npz")
    for more, message in (
        (("--out", tmp_path / "car.off"), "must end in .npz"),
        (("--share", 0), "must be above 0"),
        (("--vertices", 3), "at least 50"),
        (("--cad", tmp_path / "none"), "none: no such folder"),
        (("--category", "door"), r"no CAD models of 'door'.*CAD/door"),
    ):
        with pytest.raises(NemoError, match=message):
            run(*words, *more)


def test_pictures_show_the_mesh_and_nothing_else() -> None:
    sheet = contact_sheet(make_meshes({1: BLOCK}, "car", "multi-cuboid", 200))
    front = sheet[:, CELL : 2 * CELL].min(axis=2) < 255
    rows, cols = np.flatnonzero(front[30:].any(axis=1)), np.flatnonzero(front[30:].any(axis=0))
    assert np.ptp(cols) / np.ptp(rows) == pytest.approx(0.4 / 0.3, rel=0.2)


@pytest.mark.parametrize(("category", "least"), [("car", 0.95), ("chair", 0.9), ("sofa", 0.95)])
def test_real_cads_keep_their_silhouette(shared_data: Path, category: str, least: float) -> None:
    folder = shared_data / "pascal3d_cad" / category
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    cads = load_cads(shared_data, category, [folder])
    for number in list(cads)[:2]:
        mesh = simplify(cads[number])
        assert abs(len(mesh.vertices) - 1000) <= 100
        assert silhouette_overlap(mesh, cads[number]) > least
