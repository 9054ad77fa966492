# SPDX-License-Identifier: Apache-2.0
"""The translation from a box, and the soft box term's value and derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for
from scipy.spatial.transform import Rotation

from nemo_model.boxfit import box_rays, pull, translation_from_box

K = np.array([[30.0, 0.0, 12.0], [0.0, 31.0, 8.0], [0.0, 0.0, 1.0]])
POINTS = np.random.default_rng(0).normal(size=(40, 3)) * [0.15, 0.3, 0.12]

angles = st.tuples(*[st.floats(-3.0, 3.0)] * 3)
places = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(1.3, 8.0))


def box_of(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    camera = POINTS @ R.T + t
    uv = camera[:, :2] / camera[:, 2:] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
    return np.concatenate([uv.min(axis=0), uv.max(axis=0)])


@holds_for(angles, places)
def test_the_true_box_gives_the_true_translation(angle: tuple, place: tuple) -> None:
    R, t = Rotation.from_rotvec(angle).as_matrix(), np.array(place)
    found = translation_from_box(POINTS, R, K, box_of(R, t))
    np.testing.assert_allclose(found, t, rtol=2e-3, atol=2e-3)


@holds_for(angles, places, st.integers(0, 3), st.floats(-0.5, 0.5))
def test_a_side_that_is_not_reliable_does_not_matter(
    angle: tuple, place: tuple, side: int, error: float
) -> None:
    R, t = Rotation.from_rotvec(angle).as_matrix(), np.array(place)
    box = box_of(R, t)
    span = box[2:] - box[:2]
    box[side] += error * span[side % 2]
    reliable = [True] * 4
    reliable[side] = False
    found = translation_from_box(POINTS, R, K, box, tuple(reliable))
    assert np.abs(found - t).max() < 0.02 * t[2]


@holds_for(angles, places, st.floats(0.9, 1.1))
def test_a_box_larger_by_a_factor_brings_the_object_nearer(
    angle: tuple, place: tuple, factor: float
) -> None:
    R, t = Rotation.from_rotvec(angle).as_matrix(), np.array([0.0, 0.0, place[2]])
    box = box_of(R, t)
    centre = np.tile(0.5 * (box[:2] + box[2:]), 2)
    found = translation_from_box(POINTS, R, K, centre + factor * (box - centre))
    assert found[2] == pytest.approx(t[2] / factor, rel=0.06)


@holds_for(angles, st.tuples(*[st.floats(-1e4, 1e4)] * 4))
def test_any_box_gives_a_finite_place_in_front(angle: tuple, sides: tuple) -> None:
    R = Rotation.from_rotvec(angle).as_matrix()
    found = translation_from_box(POINTS, R, K, sides)
    assert np.isfinite(found).all()
    assert (POINTS @ R.T + found)[:, 2].min() > 0.0


@holds_for(angles, places)
def test_derivatives_of_the_box_term(angle: tuple, place: tuple) -> None:
    R, t = Rotation.from_rotvec(angle).as_matrix(), np.array(place)
    columns = np.ascontiguousarray(POINTS.T, dtype=np.float32)
    box = box_of(R, t) + np.array([0.7, -0.4, -1.1, 0.3])
    rays, weights = box_rays(box, K), np.array([1.0, 0.5, 1.0, 1e-3, 0.7, 0.0])
    sigmas = np.array([0.8, 0.8, 0.8, 0.8, 0.3, 0.2])

    def term(step: np.ndarray, order: int = 0) -> tuple[float, np.ndarray, np.ndarray]:
        g, H = np.zeros(6), np.zeros((6, 6))
        turned = np.ascontiguousarray(Rotation.from_rotvec(step[:3]).as_matrix() @ R)
        value = pull(columns, turned, t + step[3:], rays, K[0, 0], K[1, 1], weights, sigmas, 2.0,
                     order, g, H)  # fmt: skip
        return value, g, H

    value, gradient, hessian = term(np.zeros(6), 2)
    assert value < 0.0
    h = 1e-6
    numeric = [(term(h * e)[0] - term(-h * e)[0]) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-4 * np.abs(gradient).max())
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12)
    assert np.linalg.eigvalsh(hessian).min() > -1e-9 * hessian.max()


def test_the_box_term_is_nil_at_its_box_and_behind_the_camera() -> None:
    R, t = np.eye(3), np.array([0.0, 0.0, 2.0])
    columns = np.ascontiguousarray(POINTS.T, dtype=np.float32)
    rays, g, H = box_rays(box_of(R, t), K), np.zeros(6), np.zeros((6, 6))
    args = (rays, K[0, 0], K[1, 1], np.ones(6), np.full(6, 0.5), 1.0, 2, g, H)
    assert pull(columns, R, t, *args) == pytest.approx(0.0, abs=1e-9)
    assert np.abs(g).max() < 1e-3
    assert pull(columns, R, np.array([0.0, 0.0, 0.1]), *args) == 0.0
