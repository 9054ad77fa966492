# SPDX-License-Identifier: Apache-2.0
"""The paper's search, PyTorch3D's renderer, and what those are told who lack torch or PyTorch3D."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import strategies as st
from pascal3d_files import small_set
from properties import holds_for

from nemo_model.camera import Camera
from nemo_model.cli import main
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator, Given
from nemo_model.mesh import cuboid
from nemo_model.pose import geodesic, rotation_from_angles, transform
from nemo_model.reference import INSTALL_PYTORCH3D, SOLVERS, cold_solver
from nemo_model.reference.objective import evaluate
from nemo_model.reference.pytorch3d_render import pytorch3d_fragments, to_ndc
from nemo_model.reference.render import torch_scene
from nemo_model.reference.schedule import PAPER, Schedule, rotation, scene_of, solve, start_angles
from nemo_model.solver import SolverConfig, SolverModel, solve_cold
from nemo_model.synthetic import clutter_features, make_problem, smooth_features

GOLDEN = Path(__file__).parent / "data" / "pytorch3d" / "cuboid_car_28.npz"
SHORT = Schedule(steps=40)
needs_pytorch3d = pytest.mark.skipif(
    importlib.util.find_spec("pytorch3d") is None,
    reason=f"PyTorch3D is not installed (it has no wheels: {INSTALL_PYTORCH3D})",
)


@pytest.fixture(scope="module")
def model() -> SolverModel:
    mesh = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 300)
    features, clutter = smooth_features(mesh, 16, 1), clutter_features(4, 16, 2)
    return SolverModel.build(mesh, features, clutter, config=SolverConfig(box_weight=0.001))


# --- the search


@holds_for(st.tuples(*[st.floats(-7.0, 7.0)] * 3))
def test_rotation_is_that_of_the_angles(angles) -> None:
    view = torch.tensor(angles, dtype=torch.float64)
    np.testing.assert_allclose(rotation(view), rotation_from_angles(*angles), atol=1e-12)


def test_the_papers_numbers() -> None:
    angles = np.degrees(start_angles(PAPER))
    wanted = product(range(0, 360, 30), (-30, 0, 30, 60), (-30, 0, 30))
    np.testing.assert_allclose(angles, list(wanted), atol=1e-9)
    assert (len(angles), PAPER.steps, PAPER.rate, PAPER.betas) == (144, 300, 0.05, (0.4, 0.6))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_pose_of_a_synthetic_problem(model: SolverModel, seed: int) -> None:
    problem = make_problem(model.table, model.clutter, seed, hidden=0.2)
    given = solve(model, problem.features, problem.K_map, problem.box, problem.t, schedule=SHORT)
    assert np.degrees(geodesic(given.R, problem.R)) < 10.0
    np.testing.assert_allclose(given.R @ given.R.T, np.eye(3), atol=1e-12)
    # along the ray of the given translation, the distance is Adam's
    np.testing.assert_allclose(given.t / given.t[2], problem.t / problem.t[2], atol=1e-6)
    assert given.t[2] != problem.t[2]
    assert given.evaluations == 144 + 40 + 1
    assert given.second_R is not None
    assert np.degrees(geodesic(given.R, given.second_R)) > 25.0
    assert given.margin == pytest.approx(given.energy - given.second_energy)
    # value, map and Hessian are those at the pose that it reports
    wide = scene_of(model, problem.features, problem.K_map, torch.float64)
    again = evaluate(wide, given.R, given.t)
    assert given.energy == pytest.approx(again.energy, rel=1e-4)
    assert (given.occlusion != again.state).sum() <= 2
    np.testing.assert_allclose(given.hessian, again.hessian, atol=1e-2 * again.hessian.max())


def test_without_a_translation_it_starts_from_the_box(model: SolverModel) -> None:
    problem = make_problem(model.table, model.clutter, 4)
    found = solve(model, problem.features, problem.K_map, problem.box, schedule=SHORT)
    assert np.degrees(geodesic(found.R, problem.R)) < 15.0
    assert np.linalg.norm(found.t - problem.t) < 0.15 * problem.t[2]
    assert abs(found.t[0] / found.t[2] - problem.t[0] / problem.t[2]) > 1e-9  # moved sideways too


def test_it_climbs_as_high_as_the_solver_at_the_given_distance(model: SolverModel) -> None:
    """Both maximise one objective: neither may end far below the other on a clear problem."""
    problem = make_problem(model.table, model.clutter, 5)
    arguments = (model, problem.features, problem.K_map, problem.box, problem.t)
    schedule = Schedule(steps=80, free_distance=False)
    ours, theirs = solve_cold(*arguments), solve(*arguments, schedule=schedule)
    np.testing.assert_allclose(theirs.t, problem.t, rtol=1e-6)
    assert ours.energy > 0.97 * theirs.energy
    assert theirs.energy > 0.9 * ours.energy  # its last step is not its best one


def test_a_blank_map_gives_a_finite_answer_worth_nothing(model: SolverModel) -> None:
    problem = make_problem(model.table, model.clutter, 6)
    for value in (0.0, np.nan):
        blank = np.full_like(problem.features, value)
        few = Schedule(steps=3)
        found = solve(model, blank, problem.K_map, problem.box, problem.t, schedule=few)
        assert found.energy == 0.0
        assert found.visible_fraction == 0.0
        assert all(np.isfinite(part).all() for part in (found.R, found.t, found.hessian))


# --- through the estimator


def test_the_estimator_takes_it_as_it_takes_its_own_solver(tmp_path: Path) -> None:
    camera = Camera(np.array([[600.0, 0, 330], [0, 600.0, 230], [0, 0, 1]]), 640, 480)
    T = transform(rotation_from_angles(2.1, 0.2, 0.0), np.array([0.3, 0.2, 14.0]))
    image, box = tiny.photo(camera, T)
    given = Given(camera.project(T[None, :3, 3])[0], 14.0 / tiny.METRES_PER_UNIT)
    folder = tiny.write(tmp_path / "tiny", mesh=tiny.mesh(800))
    estimator = Estimator.load(folder, cold=cold_solver("torch"))
    found = estimator.estimate(image, camera.K, box, given=given)
    assert np.degrees(geodesic(found.rotation, T[:3, :3])) < 5.0
    assert np.linalg.norm(found.position - T[:3, 3]) < 0.05 * 14.0
    assert 0.0 <= found.score <= 1.0
    assert np.isfinite(found.covariance).all()
    assert found.mode == "cold"


def test_nemo_evaluate_writes_the_same_json_with_it(tmp_path: Path) -> None:
    model, photos = tiny.write(tmp_path / "tiny"), small_set(tmp_path / "photos")
    found = {}
    for name in ("numba", "torch"):
        out = tmp_path / f"{name}.json"
        words = ["evaluate", "--model", model, "--root", photos, "--protocol", "paper",
                 "--limit", 1, "--solver", name, "--json", out]  # fmt: skip
        assert main([str(word) for word in words]) == 0
        found[name] = json.loads(out.read_text())
        assert found[name]["solver"] == name
        assert found[name]["failed"] == 0
    assert found["torch"].keys() == found["numba"].keys()
    ours, theirs = (document["images"][0] for document in found.values())
    assert ours.keys() == theirs.keys()
    assert ours["name"] == theirs["name"]
    assert ours["rotation_error_deg"] != theirs["rotation_error_deg"]
    assert found["torch"]["ms"]["solve"] > found["numba"]["ms"]["solve"]


def test_numba_is_the_solver_that_ships() -> None:
    assert SOLVERS[0] == "numba"
    assert cold_solver("numba") is solve_cold
    with pytest.raises(NemoError, match="'cuda' is not known; choose one of numba, torch"):
        cold_solver("cuda")


@pytest.mark.parametrize("name", ["torch", "pytorch3d"])
def test_without_torch_it_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NemoError, match=rf"'{name}' needs torch.*make train-env"):
        cold_solver(name)


def test_without_pytorch3d_it_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.mesh.rasterize_meshes", None)
    with pytest.raises(NemoError, match=r"INSTALL\.md says, or use --solver torch"):
        cold_solver("pytorch3d")


def test_evaluating_with_the_own_solver_needs_no_torch() -> None:
    program = (
        "import sys; import nemo_model.commands.evaluate as e; e.cold_solver('numba');"
        "print([m for m in ('torch', 'pytorch3d') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# --- PyTorch3D


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_torch_renderer_gives_pytorch3ds_golden_data(dtype: torch.dtype) -> None:
    check_golden(GOLDEN, dtype, None)


@pytest.mark.parametrize("mesh", ["cuboid_car", "cad_car", "cad_chair", "cad_aeroplane"])
@pytest.mark.parametrize("size", [28, 56])
def test_on_every_golden_mesh(shared_data: Path, mesh: str, size: int) -> None:
    path = shared_data / "pytorch3d_golden" / f"{mesh}_{size}.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    check_golden(path, torch.float64, None)


def check_golden(path: Path, dtype: torch.dtype, draw) -> None:
    data = dict(np.load(path))
    for k, (F, camera, T) in enumerate(
        zip(data["feature_map"], data["K"], data["T_cam_obj"], strict=True)
    ):
        scene = torch_scene(
            data["vertices"], data["faces"], data["vertex_features"], F, F @ data["beta"], camera,
            dtype,
        )  # fmt: skip
        found = evaluate(scene, T[:3, :3], T[:3, 3], *([draw] if draw else []))
        assert found.energy == pytest.approx(float(data["energy"][k]), rel=1e-5, abs=1e-4)
        truth = data["gradient"][k]
        limit = 5e-4 * max(float(np.abs(truth).max()), 1e-6)
        np.testing.assert_allclose(found.gradient, truth, rtol=0, atol=limit)
        np.testing.assert_array_equal(found.state >= 0, data["pix_to_face"][k] >= 0)
        if path.name.startswith("cuboid"):  # CAD meshes hold faces twice: either may be named
            assert (found.face != data["pix_to_face"][k]).sum() <= 2


@pytest.mark.parametrize(("height", "width"), [(16, 24), (28, 28), (40, 20)])
def test_cell_centres_in_pytorch3ds_coordinates(height: int, width: int) -> None:
    """Its documentation: the shorter side from -1 to 1, x to the left, y up, centres inside."""
    camera = np.array([[20.0, 0, 9.0], [0, 22.0, 7.0], [0, 0, 1.0]])
    blank = np.zeros((height, width, 1))
    nothing = np.zeros((0, 3))
    scene = torch_scene(nothing, nothing, np.zeros((0, 1)), blank, blank, camera)
    found = to_ndc(scene, 3.0 * scene.rays).reshape(height, width, 3).numpy()
    short = min(height, width)
    np.testing.assert_allclose(found[..., 2], 3.0)
    np.testing.assert_allclose(found[0, 0, :2], [(width - 1) / short, (height - 1) / short])
    np.testing.assert_allclose(found[-1, -1, :2], -found[0, 0, :2])
    np.testing.assert_allclose(np.diff(found[..., 0], axis=1), -2.0 / short)
    np.testing.assert_allclose(np.diff(found[..., 1], axis=0), -2.0 / short)


@needs_pytorch3d
def test_pytorch3d_itself_gives_its_golden_data() -> None:
    check_golden(GOLDEN, torch.float32, pytorch3d_fragments())


@needs_pytorch3d
def test_the_search_through_pytorch3d_ends_where_the_torch_one_does(model: SolverModel) -> None:
    problem = make_problem(model.table, model.clutter, 1)
    arguments = (model, problem.features, problem.K_map, problem.box, problem.t)
    theirs = solve(*arguments, draw=pytorch3d_fragments(), schedule=Schedule(steps=20))
    ours = solve(*arguments, schedule=Schedule(steps=20))
    assert np.degrees(geodesic(ours.R, theirs.R)) < 1.0
