# SPDX-License-Identifier: Apache-2.0
"""Sets drawn by Cycles: what they share with the own renderer's, refusals, and Cycles itself.

The last tests run Cycles where NEMO_CYCLES_PYTHON names a Python that has bpy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import synth_files

from nemo_model import cli, pose
from nemo_model.commands import synth
from nemo_model.errors import NemoError
from nemo_model.synth import cycles_process
from nemo_model.synth.build import Settings, build
from nemo_model.synth.catalogue import Entry
from nemo_model.synth.cycles import Cycles, facing, job, lit_share, surfaces
from nemo_model.synth.draw import draw, to_linear
from nemo_model.synth.light import Lights
from nemo_model.synth.materials import Textures
from nemo_model.synth.model import Model, hull_of
from nemo_model.synth.scene import Ranges

VAL = Settings("chair", "val", ranges=Ranges(longest=96))
HERE = Path(sys.executable)
STAND_IN = Path(__file__).with_name("cycles_stand_in.py")
Cache = tuple[Path, list[Entry]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("cache")
    return folder, synth_files.write_cache(folder)


@pytest.fixture(autouse=True)
def _no_worker_left() -> Iterator[None]:
    cycles_process.release()
    yield
    cycles_process.release()


@pytest.fixture()
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Cycles:
    monkeypatch.setattr(cycles_process, "SCRIPT", STAND_IN)
    return Cycles(HERE)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_only_images_and_the_record_differ_from_the_own_renderers(cache, stand_in, tmp_path):
    build(cache[1], VAL, 4, cache[0], tmp_path / "own")
    build(cache[1], VAL, 4, cache[0], tmp_path / "cycles", cycles=stand_in)
    own, cycles = files(tmp_path / "own"), files(tmp_path / "cycles")
    assert own.keys() == cycles.keys()
    differ = {name for name in own if own[name] != cycles[name]}
    images = {f"Images/chair_synth/{VAL.name(k)}.jpg" for k in range(4)}
    assert differ == images | {"synth/chair_val.json"}
    mine, theirs = (json.loads(x["synth/chair_val.json"]) for x in (own, cycles))
    assert "renderer" not in mine  # so that sets made before there was a choice are gone on with
    said = theirs.pop("renderer")
    assert said == {"name": "cycles", "version": 1, "samples": 16, "blender": "0.0.1"}
    assert mine == theirs


def test_a_stopped_run_goes_on_and_processes_give_the_same_bytes(cache, stand_in, tmp_path):
    build(cache[1], VAL, 3, cache[0], tmp_path / "whole", cycles=stand_in)
    build(cache[1], VAL, 1, cache[0], tmp_path / "parts", cycles=stand_in)
    build(cache[1], VAL, 3, cache[0], tmp_path / "parts", workers=2, cycles=stand_in)
    assert files(tmp_path / "whole") == files(tmp_path / "parts")


def test_a_root_of_another_renderer_is_refused(cache, stand_in, tmp_path):
    build(cache[1], VAL, 1, cache[0], tmp_path / "own")
    build(cache[1], VAL, 1, cache[0], tmp_path / "cycles", cycles=stand_in)
    for root, cycles in (("own", stand_in), ("cycles", None), ("cycles", Cycles(HERE, 8))):
        with pytest.raises(NemoError, match="another renderer"):
            build(cache[1], VAL, 2, cache[0], tmp_path / root, cycles=cycles)


@pytest.mark.parametrize(
    ("python", "message"), [(str(HERE), "bpy"), ("no/such/python", "cannot be run")]
)
def test_without_blender_the_command_says_how_to_get_it(
    cache, tmp_path, monkeypatch, capsys, python, message
):
    no_bpy = tmp_path / "worker.py"
    no_bpy.write_text(
        "import sys\nsys.modules['bpy'] = None\n" + cycles_process.SCRIPT.read_text().replace(
            "from __future__ import annotations\n", ""
        )
    )  # fmt: skip
    monkeypatch.setattr(cycles_process, "SCRIPT", no_bpy)
    monkeypatch.setattr(synth, "read_table", lambda: cache[1])
    words = ["--cache", str(cache[0]), "--out", str(tmp_path / "out"), "--category", "chair"]
    assert (
        cli.main(["synth", "render", *words, "--renderer", "cycles", "--cycles-python", python])
        == 2
    )
    told = capsys.readouterr().err
    assert message in told
    assert 'pip install bpy==4.5.15 "numpy<2"' in told
    assert not (tmp_path / "out").exists()


def test_what_the_worker_says_is_passed_on(stand_in):
    scene = (box_model(), *view(), np.zeros((60, 80, 3), np.uint8), lights(), 0.5, 1.0)
    assert stand_in.draw(*scene, seed=1).image.max() > 0
    with pytest.raises(NemoError, match="thirteen"):
        stand_in.draw(*scene, seed=13)
    assert stand_in.draw(*scene, seed=1).image.max() > 0  # it lives on
    with pytest.raises(NemoError, match="no more light"):
        stand_in.draw(*scene, seed=99)


def test_shadow_and_opacity_are_laid_over_the_background(stand_in):
    background = np.full((60, 80, 3), 200, np.uint8)
    drawing = stand_in.draw(box_model(), *view(), background, lights(), 0.5, 1.0, seed=7)
    assert drawing.image[drawing.mask].max() < 5  # opaque and black
    light = to_linear(drawing.image[0, 0])  # the stand-in's ground has half of its light
    np.testing.assert_allclose(light, 0.75 * to_linear(background[0, 0]), rtol=0.02)


def box_model(half: float = 0.25, colour: float = 0.5) -> Model:
    """A cube of one dull colour whose corners come in no particular order."""
    square = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=float)
    turns = [np.roll(square, k, axis=1) * sign for k in range(3) for sign in (1.0, -1.0)]
    points = half * np.array([side[list(t)] for side in turns for t in ((0, 1, 2), (3, 0, 2))])
    outward = np.repeat([side.mean(axis=0) for side in turns], 2, axis=0)
    normals = np.repeat(outward[:, None], 3, axis=1)
    table = np.array([[colour, colour, colour, 0.0, 20.0, 1.0, -1.0]])
    textures = Textures(np.zeros((1, 4), np.uint8), np.zeros((0, 3), np.int64))
    return Model(
        points, normals, np.zeros((12, 3, 2)), np.zeros(12, np.int32), table, textures,
        np.zeros(12, dtype=bool), hull_of(points.reshape(-1, 3)),
    )  # fmt: skip


def view() -> tuple[np.ndarray, np.ndarray]:
    """T_cam_obj from ahead and above, and K of an 80 x 60 picture, off its middle."""
    R = pose.rotation_from_angles(0.4, 0.6, 0.1)
    K = np.array([[110.0, 0.0, 36.0], [0.0, 110.0, 33.0], [0.0, 0.0, 1.0]])
    return pose.transform(R, np.array([0.0, 0.0, 3.0])), K


def lights(sun: float = 0.8) -> Lights:
    return Lights(
        np.array([0.0, 0.6, 0.8]), np.full(3, sun), np.array([0.3, 0.4, 0.5]), np.full(3, 0.2),
        np.full((16, 64, 3), 0.3),
    )  # fmt: skip


def test_triangles_are_turned_to_the_eye_with_their_normals():
    model = box_model()
    eye = np.array([0.3, -3.0, 1.0])
    points, normals, uv = facing(model.points, -model.normals, model.uv, eye)
    across = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    assert (((eye - points.mean(axis=1)) * across).sum(axis=1) > 0).all()
    assert ((normals * across[:, None]).sum(axis=2) > 0).all()
    np.testing.assert_array_equal(np.sort(points, axis=1), np.sort(model.points, axis=1))
    assert uv.shape == model.uv.shape


def test_a_normal_that_leans_behind_its_face_becomes_the_faces():
    points = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    normals = np.array([[[0.0, 0, 1], [0, 0.6, 0.8], [0, 0.8, -0.6]]])
    _, found, _ = facing(points, normals, np.zeros((1, 3, 2)), np.array([0.0, 0, 5]))
    np.testing.assert_allclose(found[0], [[0, 0, 1], [0, 0.6, 0.8], [0, 0, 1]])


def test_shinier_surfaces_are_smoother():
    table = np.array([[0.1, 0.2, 0.3, 0.2, n, 1.0, -1.0] for n in (5.0, 30.0, 6.0)])
    found = surfaces(table)
    assert found.shape == (3, 8)
    np.testing.assert_allclose(found[2, 3] ** 4, 2.0 / 8.0)  # alpha = roughness ** 2
    assert found[1, 3] < found[2, 3] < found[0, 3]


def test_ground_alone_has_all_its_light():
    albedo = np.array([0.2, 0.3, 0.4])
    one = lights()
    alone = albedo * (0.8 * one.sun_colour + one.sky)
    ground = np.array([[[*alone, 1.0], [*(0.25 * alone), 1.0], [0.0, 0.0, 0.0, 0.0]]], np.float32)
    share = lit_share(ground, albedo, one)
    np.testing.assert_allclose(share[0], np.array([[1.0], [0.25], [1.0]]) * np.ones(3), rtol=1e-5)


@pytest.fixture()
def blender() -> Cycles:
    python = os.environ.get("NEMO_CYCLES_PYTHON", "")
    if not python:
        pytest.skip("NEMO_CYCLES_PYTHON names no Python that has bpy")
    return Cycles(Path(python))


def test_cycles_shows_the_object_where_its_mask_is_as_bright_as_its_light(blender):
    (T, K), model, sun = view(), box_model(), lights()
    background = np.full((60, 80, 3), 128, np.uint8)
    ask = cycles_process.worker(blender.python).ask
    options = {"samples": np.array(32), "threads": np.array(1), "seed": np.array(5)}
    order = job(model, T, K, (80, 60), (0, 0, 80, 60), sun, with_ground=True) | options
    found = ask(order)
    mask = draw(model, T, K, background, sun).mask
    share = found["object"][..., 3]  # a mask's pixel has three of four samples at least
    assert mask[share > 0.85].all()
    assert not mask[share < 0.4].any()
    top = K @ (T[:3, :3] @ np.array([0.0, 0.0, 0.25]) + T[:3, 3])
    u, v = (round(float(x)) for x in top[:2] / top[2])
    expected = 0.5 * (0.8 * sun.sun_colour + sun.sky)
    np.testing.assert_allclose(found["object"][v, u, :3], expected, rtol=0.05)
    lit = lit_share(found["ground"], order["albedo"], sun)
    assert abs(float(np.median(lit[found["ground"][..., 3] > 0.5])) - 1.0) < 0.05
    T_behind = K @ (T[:3, :3] @ np.array([0.0, -0.35, -0.25]) + T[:3, 3])  # away from the sun
    u, v = (round(float(x) / 2) for x in T_behind[:2] / T_behind[2])
    assert lit[v, u].max() < 0.6
    again = ask(order)
    assert all((found[name] == again[name]).all() for name in found)


def test_cycles_lays_textures_the_right_way_round_and_cuts_holes(blender):
    texels = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [0, 0, 0, 0]])
    textures = Textures(texels.astype(np.uint8), np.array([[0, 2, 2]]))  # the hole: low right
    points = np.array([[-1.0, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]])  # seen from -y
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    corners = np.array([[0, 1, 2], [0, 2, 3]])
    model = Model(
        points[corners], np.tile([0.0, -1.0, 0.0], (2, 3, 1)), uv[corners], np.zeros(2, np.int32),
        np.array([[1.0, 1.0, 1.0, 0.0, 20.0, 1.0, 0.0]]), textures, np.ones(2, dtype=bool), points,
    )  # fmt: skip
    T = pose.transform(pose.rotation_from_angles(0.0, 0.0, 0.0), np.array([0.0, 0.0, 4.0]))
    K = np.array([[80.0, 0.0, 31.5], [0.0, 80.0, 31.5], [0.0, 0.0, 1.0]])
    order = job(model, T, K, (64, 64), (0, 0, 64, 64), lights(), with_ground=False)
    options = {"samples": np.array(8), "threads": np.array(1), "seed": np.array(5)}
    found = cycles_process.worker(blender.python).ask(order | options)["object"]
    quarters = found[[21, 21, 42], [21, 42, 21]]
    assert quarters[:, :3].argmax(axis=1).tolist() == [0, 1, 2]
    assert (quarters[:, 3] > 0.9).all()
    assert np.abs(found[42, 42]).max() < 0.1
