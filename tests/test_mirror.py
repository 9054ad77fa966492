# SPDX-License-Identifier: Apache-2.0
"""The second look at the mirror image: its geometry, and that two votes outweigh one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nemo_model import Estimator
from nemo_model.errors import NemoError
from nemo_model.mirror import MIRROR, Look, mirrored, mirrored_look, search_both
from nemo_model.pose import geodesic, rotation_from_angles
from nemo_model.raster import rasterize
from nemo_model.solver import Solution, SolverModel, solve_cold
from nemo_model.synthetic import clutter_features, smooth_features, unit

WIDTH, HEIGHT, CHANNELS = 24, 16, 32


@pytest.fixture(scope="module")
def model() -> SolverModel:
    """A cuboid that looks alike in a mirror."""
    mesh = tiny.mesh(600)
    features = smooth_features(mesh, CHANNELS, 3)
    places = {tuple(v.round(6)): k for k, v in enumerate(mesh.vertices)}
    twin = [places[tuple((v * [-1, 1, 1]).round(6) + 0.0)] for v in mesh.vertices]
    return SolverModel.build(
        mesh, unit(features + features[twin]), clutter_features(4, CHANNELS, 5)
    )


class Truth(NamedTuple):
    R: np.ndarray
    t: np.ndarray
    K: np.ndarray


def rendered(model: SolverModel, R: np.ndarray, t: np.ndarray, K: np.ndarray, seed: int) -> Any:
    """Features (h, w, C) of the object at a pose, a little noisy, before clutter."""
    mesh = tiny.mesh(600)
    rng = np.random.default_rng(seed)
    face, bary, _ = rasterize(mesh.vertices @ R.T + t, mesh.faces, K, WIDTH, HEIGHT)
    result = model.clutter[rng.integers(len(model.clutter), size=(HEIGHT, WIDTH))]
    covered = face >= 0
    theta = model.table.features[mesh.faces[face[covered]]]
    result[covered] = np.einsum("nk,nkc->nc", bary[covered], theta)
    result = unit(result + 0.3 / np.sqrt(CHANNELS) * rng.normal(size=result.shape))
    return result.astype(np.float32)


def problem(model: SolverModel, seed: int) -> tuple[Truth, Look]:
    """A view of the object in a camera whose principal point lies in the middle of the map."""
    rng = np.random.default_rng(seed)
    R = rotation_from_angles(rng.uniform(0.3, 1.2) + seed * np.pi / 2, rng.uniform(0.05, 0.5), 0.0)
    truth = Truth(R, np.array([0.03, -0.02, 2.2]), np.diag([44.0, 44.0, 1.0]))
    truth.K[:2, 2] = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    uvw = (tiny.mesh(600).vertices @ R.T + truth.t) @ truth.K.T
    uv = uvw[:, :2] / uvw[:, 2:]
    box = np.concatenate([uv.min(axis=0), uv.max(axis=0)])
    features = rendered(model, R, truth.t, truth.K, seed)
    return truth, Look(features, truth.K, box, None, (True,) * 4)


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(geodesic(a, b)))


@given(st.integers(0, 10_000))
def test_a_mirrored_pose_shows_mirrored_points_mirrored(seed: int) -> None:
    rng = np.random.default_rng(seed)
    R, t = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3) + np.array([0, 0, 6])
    K = np.array([[90.0, 0, 11.5], [0, 80.0, 7.0], [0, 0, 1]])
    x = rng.normal(size=3)
    Rm, tm = mirrored(R, t)
    u, v, w = K @ (R @ x + t)
    um, vm, wm = K @ (Rm @ MIRROR @ x + tm)
    assert wm == pytest.approx(w)
    assert (um / wm, vm / wm) == pytest.approx((23.0 - u / w, v / w))
    assert np.linalg.det(Rm) == pytest.approx(1.0)
    back = mirrored(Rm, tm)
    assert np.allclose(back[0], R)
    assert np.allclose(back[1], t)


def test_the_mirrored_look_has_box_and_sides_swapped() -> None:
    K = np.array([[90.0, 0, 11.5], [0, 90.0, 7.5], [0, 0, 1]])
    look = Look(np.zeros((1, 1, 1)), K, np.array([2.0, 3, 15, 9]), np.array([0.1, 0.2, 4]),
                (False, True, True, True))  # fmt: skip
    other = mirrored_look(look, look.features)
    assert other.box.tolist() == [8.0, 3.0, 21.0, 9.0]
    assert other.given_t is not None
    assert other.given_t.tolist() == [-0.1, 0.2, 4.0]
    assert other.reliable == (True, True, False, True)


@pytest.mark.parametrize("seed", range(4))
def test_a_clear_picture_is_answered_as_before(model: SolverModel, seed: int) -> None:
    truth, look = problem(model, seed)
    first = solve_cold(model, *look)
    both = search_both(model, solve_cold, first, look, look.features[:, ::-1])
    assert degrees(both.R, truth.R) < 5.0
    assert degrees(both.R, first.R) < 2.0
    assert both.energy > 0.95 * first.energy
    assert both.evaluations > 1.8 * first.evaluations
    assert both.occlusion.shape == (HEIGHT, WIDTH)
    again = search_both(model, solve_cold, first, look, look.features[:, ::-1])
    assert again.R.tobytes() == both.R.tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_the_mirror_image_outvotes_a_misread_picture(model: SolverModel, seed: int) -> None:
    """The picture's features speak for the object turned round; its mirror image's do not."""
    truth, look = problem(model, seed)
    round_about = truth.R @ np.diag([-1.0, -1.0, 1.0])
    turned = rendered(model, round_about, truth.t, truth.K, 9)
    spoilt = look._replace(features=unit(0.5 * look.features + 0.62 * turned).astype(np.float32))
    misled = solve_cold(model, *spoilt)
    assert degrees(misled.R, round_about) < 25.0
    both = search_both(model, solve_cold, misled, spoilt, look.features[:, ::-1])
    assert degrees(both.R, truth.R) < 8.0
    assert both.margin >= 0.0
    assert both.second_R is None or degrees(both.second_R, both.R) > 25.0


def test_where_the_place_is_given_it_is_kept(model: SolverModel) -> None:
    truth, look = problem(model, 1)
    look = look._replace(given_t=truth.t)
    first = solve_cold(model, *look)
    both = search_both(model, solve_cold, first, look, look.features[:, ::-1])
    assert both.t.tolist() == truth.t.tolist()
    assert degrees(both.R, truth.R) < 5.0


def test_pictures_that_contradict_each_other_leave_the_first_answer(model: SolverModel) -> None:
    truth, look = problem(model, 2)
    first = solve_cold(model, *look)
    nothing = np.zeros_like(look.features)
    both = search_both(model, solve_cold, first, look, nothing)
    assert np.isfinite(both.R).all()
    assert degrees(both.R, truth.R) < 15.0
    with pytest.raises(NemoError, match="feature map"):
        search_both(model, solve_cold, first, look, nothing[..., 1:])


@pytest.mark.parametrize(("card", "asked", "doubt", "looks"), [
    (False, None, True, 1), (True, None, True, 2), (True, None, False, 1), (True, False, True, 1),
    (False, True, True, 2),
])  # fmt: skip
def test_the_estimator_looks_twice_only_in_doubt(
    tmp_path: Path, card: bool, asked: bool | None, doubt: bool, looks: int
) -> None:
    folder = tiny.write(tmp_path / "m", mirror=card)
    seen: list[int] = []

    def search(*args: Any) -> Solution:
        found = solve_cold(*args)
        margin = 0.1 if doubt else 0.9
        return Solution(**(vars(found) | {"relative_margin": margin}))

    estimator = Estimator.load(folder, mirror=asked, cold=search)
    network = estimator.extractor

    class Counting:
        def look(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.append(len(pixels))
            return network.look(pixels)

    estimator.extractor = Counting()  # type: ignore[assignment]
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    K = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])
    estimate = estimator.estimate(image, K, (80, 60, 240, 180))
    assert seen == [1] * looks
    assert estimate.mode == "cold"
    seen.clear()
    ahead = estimate.T_cam_obj.copy()
    ahead[2, 3] = max(float(ahead[2, 3]), 0.5)
    estimator.estimate(image, K, (80, 60, 240, 180), prior=ahead)
    assert seen == [1]
