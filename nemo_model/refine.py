# SPDX-License-Identifier: Apache-2.0
"""Climb the objective from a start pose: tangent-space Adam, then damped Gauss-Newton.

The step is (omega, tau, sigma): R <- exp(omega) R and t <- (t + length (tau, 0)) exp(sigma), a
turn about the camera's axes, a shift in the picture and a change of size. With `length` half of the
object's size, equal numbers move its outline about equally far. With `freedom` 3 only omega.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from nemo_model.boxfit import pull
from nemo_model.kernel import kernel
from nemo_model.lean import lean
from nemo_model.objective import NEAR, background, evaluate

Array = npt.NDArray[np.float64]

ROTATION, TRANSLATION, TOTAL, ENERGY, COVERED, EXPLAINED, EVALUATIONS = 0, 9, 12, 13, 14, 15, 16
RESULT = 17
"""Layout of a result row: R (9), t (3), E with the hints' terms, E, cells covered, cells explained,
evaluations used."""


class Schedule(NamedTuple):
    """How a climb goes; see SolverConfig for the meaning and units."""

    adam_steps: int
    rate_start: float
    rate_end: float
    beta1: float
    beta2: float
    newton_steps: int
    damping: float
    length: float
    rotation_limit: float
    translation_limit: float
    tolerance: float


class Hints(NamedTuple):
    """What is known of the pose besides the features: a box and a prior of the viewpoint.

    The soft box term: outline (3, P) float32, the box's sides as rays (4,), weights (6,) and widths
    in cells (6,) of four sides and two centres, and weight in units of E (0: off). The viewpoint's
    log probabilities (BINS,) and their weight in units of E (0: off).
    """

    outline: np.ndarray
    rays: np.ndarray
    weights: np.ndarray
    sigmas: np.ndarray
    scale: float
    viewpoint: np.ndarray
    viewpoint_scale: float


@kernel
def step_pose(R, t, step, length, freedom):  # type: ignore[no-untyped-def]
    """Apply (omega, tau, sigma) to a pose in place; the rotation stays orthonormal."""
    x, y, z = step[0], step[1], step[2]
    angle = math.sqrt(x * x + y * y + z * z)
    if angle > 1e-12:
        half = 0.5 * angle
        s = math.sin(half) / angle
        qw, qx, qy, qz = math.cos(half), x * s, y * s, z * s
        E = np.empty((3, 3))
        E[0, 0], E[0, 1] = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz)
        E[0, 2], E[1, 0] = 2 * (qx * qz + qw * qy), 2 * (qx * qy + qw * qz)
        E[1, 1], E[1, 2] = 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx)
        E[2, 0], E[2, 1] = 2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx)
        E[2, 2] = 1 - 2 * (qx * qx + qy * qy)
        for j in range(3):
            a, b, c = R[0, j], R[1, j], R[2, j]
            for i in range(3):
                R[i, j] = E[i, 0] * a + E[i, 1] * b + E[i, 2] * c
    if freedom > 3:
        grow = math.exp(step[5])
        t[0] = (t[0] + length * step[3]) * grow
        t[1] = (t[1] + length * step[4]) * grow
        t[2] = max(t[2] * grow, 10.0 * NEAR)


@kernel
def _tangent(g, H, t, length, freedom, order, gradient, hessian):  # type: ignore[no-untyped-def]
    """Turn sums by (omega, dt) into sums by (omega, tau, sigma)."""
    for i in range(3):
        gradient[i] = g[i]
    if freedom > 3:
        gradient[3], gradient[4] = length * g[3], length * g[4]
        gradient[5] = t[0] * g[3] + t[1] * g[4] + t[2] * g[5]
    if order < 2:
        return
    for i in range(3):
        for j in range(3):
            hessian[i, j] = H[i, j]
    if freedom > 3:
        half = np.empty((6, 3))  # H B: columns by tau_x, tau_y, sigma
        for i in range(6):
            half[i, 0], half[i, 1] = length * H[i, 3], length * H[i, 4]
            half[i, 2] = t[0] * H[i, 3] + t[1] * H[i, 4] + t[2] * H[i, 5]
        for j in range(3):
            for i in range(3):
                hessian[i, 3 + j] = half[i, j]
                hessian[3 + j, i] = half[i, j]
            hessian[3, 3 + j], hessian[4, 3 + j] = length * half[3, j], length * half[4, j]
            hessian[5, 3 + j] = t[0] * half[3, j] + t[1] * half[4, j] + t[2] * half[5, j]


@kernel
def solve_damped(hessian, gradient, n, damping, step):  # type: ignore[no-untyped-def]
    """Solve (H + damping diag H + floor) step = gradient by Cholesky; False when H is nil."""
    largest = 0.0
    for i in range(n):
        largest = max(largest, hessian[i, i])
    if not largest > 0.0 or not largest < 1e300:
        return False
    L = np.empty((6, 6))
    for i in range(n):
        for j in range(i + 1):
            value = hessian[i, j]
            if i == j:
                value += damping * value + 1e-6 * largest
            for k in range(j):
                value -= L[i, k] * L[j, k]
            if i == j:
                if not value > 0.0:
                    return False
                L[i, i] = math.sqrt(value)
            else:
                L[i, j] = value / L[j, j]
    for i in range(n):
        value = gradient[i]
        for k in range(i):
            value -= L[i, k] * step[k]
        step[i] = value / L[i, i]
    for r in range(n):
        i = n - 1 - r
        value = step[i]
        for k in range(i + 1, n):
            value -= L[k, i] * step[k]
        step[i] = value / L[i, i]
    return True


@kernel
def _limit(step, first, last, limit):  # type: ignore[no-untyped-def]
    length = 0.0
    for i in range(first, last):
        length += step[i] * step[i]
    length = math.sqrt(length)
    if length > limit:
        for i in range(first, last):
            step[i] *= limit / length
    return min(length, limit)


@kernel
def score(table, scene, hints, R, t, work, order):  # type: ignore[no-untyped-def]
    """Evaluate E plus what the hints add, its derivatives by (omega, dt) left in `work`."""
    energy = evaluate(table, scene, R, t, work, order)
    if hints.scale > 0.0:
        energy += pull(
            hints.outline, R, t, hints.rays, scene.fx, scene.fy, hints.weights, hints.sigmas,
            hints.scale, order, work.gradient, work.hessian,
        )  # fmt: skip
    if hints.viewpoint_scale > 0.0:
        energy += lean(
            hints.viewpoint, R, hints.viewpoint_scale, order, work.gradient, work.hessian
        )
    return energy


@kernel
def _keep(result, total, R, t, work):  # type: ignore[no-untyped-def]
    if total > result[TOTAL]:
        for i in range(3):
            for j in range(3):
                result[3 * i + j] = R[i, j]
            result[TRANSLATION + i] = t[i]
        result[TOTAL] = total
        result[ENERGY] = work.sums[0]
        result[COVERED], result[EXPLAINED] = work.sums[1], work.sums[2]


@kernel
def _take(result, R, t):  # type: ignore[no-untyped-def]
    for i in range(3):
        for j in range(3):
            R[i, j] = result[3 * i + j]
        t[i] = result[TRANSLATION + i]


@kernel
def climb(table, scene, hints, R, t, freedom, schedule, work, result):  # type: ignore[no-untyped-def]
    """Climb from (R, t), which are changed; the best pose met is left in `result` (RESULT,)."""
    result[TOTAL] = -1e300
    n = 6 if freedom > 3 else 3
    gradient, hessian = np.zeros(6), np.zeros((6, 6))
    first, second, step = np.zeros(6), np.zeros(6), np.zeros(6)
    power1, power2 = 1.0, 1.0
    used = 0
    for k in range(schedule.adam_steps):
        total = score(table, scene, hints, R, t, work, 1)
        used += 1
        _keep(result, total, R, t, work)
        _tangent(work.gradient, work.hessian, t, schedule.length, freedom, 1, gradient, hessian)
        share = k / max(schedule.adam_steps - 1, 1)
        rate = schedule.rate_start * (schedule.rate_end / schedule.rate_start) ** share
        power1 *= schedule.beta1
        power2 *= schedule.beta2
        size = 0.0
        for i in range(n):
            first[i] = schedule.beta1 * first[i] + (1.0 - schedule.beta1) * gradient[i]
            second[i] = schedule.beta2 * second[i] + (1.0 - schedule.beta2) * gradient[i] ** 2
            scale = math.sqrt(second[i] / (1.0 - power2)) + 1e-12
            step[i] = rate * first[i] / (1.0 - power1) / scale
            size += abs(gradient[i])
        if not size > 0.0 or not size < 1e300:
            break
        step_pose(R, t, step, schedule.length, freedom)
    if schedule.adam_steps > 0:  # Adam wanders about the peak: go on from the best pose it met
        _take(result, R, t)
    for _ in range(schedule.newton_steps):
        total = score(table, scene, hints, R, t, work, 2)
        used += 1
        _keep(result, total, R, t, work)
        _tangent(work.gradient, work.hessian, t, schedule.length, freedom, 2, gradient, hessian)
        if not solve_damped(hessian, gradient, n, schedule.damping, step):
            break
        moved = _limit(step, 0, 3, schedule.rotation_limit)
        if freedom > 3:
            moved = max(moved, _limit(step, 3, 6, schedule.translation_limit))
        step_pose(R, t, step, schedule.length, freedom)
        if moved < schedule.tolerance:
            break
    total = score(table, scene, hints, R, t, work, 0)
    _keep(result, total, R, t, work)
    result[EVALUATIONS] = used + 1


@kernel
def climb_from(table, scene, hints, rotations, translations, freedom, schedule, work, results):  # type: ignore[no-untyped-def]
    """Climb from rotations (n, 3, 3) and translations (n, 3), filling results (n, RESULT)."""
    R, t = np.empty((3, 3)), np.empty(3)
    for k in range(len(results)):
        R[:] = rotations[k]
        t[:] = translations[k]
        climb(table, scene, hints, R, t, freedom, schedule, work, results[k])


@kernel
def climb_twice(  # type: ignore[no-untyped-def]
    table, scene, hints, rotations, translations, chosen, freedom, first, last, finalists, work,
    results,
):  # fmt: skip
    """Climb from the poses numbered `chosen`, then on from the best `finalists` of these.

    Fills results (n, RESULT) with the better of both climbs; returns the evaluations used.
    """
    R, t, longer = np.empty((3, 3)), np.empty(3), np.empty(RESULT)
    used = 0
    for k in range(len(chosen)):
        R[:] = rotations[chosen[k]]
        t[:] = translations[chosen[k]]
        climb(table, scene, hints, R, t, freedom, first, work, results[k])
        used += int(results[k, EVALUATIONS])
    for k in np.argsort(-results[:, TOTAL], kind="mergesort")[:finalists]:
        _take(results[k], R, t)
        climb(table, scene, hints, R, t, freedom, last, work, longer)
        used += int(longer[EVALUATIONS])
        if longer[TOTAL] > results[k, TOTAL]:
            results[k] = longer
    return used


@kernel
def refine(table, scene, hints, clutter, mean, R, t, freedom, schedule, twin, work, results):  # type: ignore[no-untyped-def]
    """Fill the scene's background, climb from (R, t), and evaluate where that ends.

    results (1 or 2, RESULT): with two rows also the climb, by the schedule `twin`, of the pose
    turned by 180 degrees about the object's z axis.
    """
    background(scene.features, clutter, mean, scene.background)
    pose, place = np.empty((3, 3)), np.empty(3)
    for row in range(len(results) - 1, -1, -1):
        for i in range(3):
            for j in range(3):
                pose[i, j] = -R[i, j] if row == 1 and j < 2 else R[i, j]
            place[i] = t[i]
        climb(
            table, scene, hints, pose, place, freedom, twin if row == 1 else schedule, work,
            results[row],
        )  # fmt: skip
    _take(results[0], pose, place)
    evaluate(table, scene, pose, place, work, 2)


@numba.njit(cache=True)
def blend(results, best, temperature, cosine, R, t):  # type: ignore[no-untyped-def]
    """Fill R (3, 3) and t (3,) with the mean pose of the climbs that ended near the best one.

    The objective is rough within some degrees of its peak (cells change sides), so climbs from
    different starts end beside each other at almost equal heights; their mean is steadier than
    the highest. Each weighs exp((its total - the best total) / temperature).

    Args:
        results: (n, RESULT).
        best: (RESULT,) the best of them.
        temperature: in units of E, positive.
        cosine: of the largest angle that is near.
    """
    R[:] = 0.0
    t[:] = 0.0
    total = 0.0
    for k in range(len(results)):
        trace = 0.0
        for i in range(TRANSLATION):
            trace += results[k, i] * best[i]
        if not 0.5 * (trace - 1.0) > cosine:
            continue
        weight = math.exp(min((results[k, TOTAL] - best[TOTAL]) / temperature, 0.0))
        total += weight
        for i in range(3):
            t[i] += weight * results[k, TRANSLATION + i]
            for j in range(3):
                R[i, j] += weight * results[k, 3 * i + j]
    if not total > 0.0:
        _take(best, R, t)
        return
    t /= total
    R /= total
    square = np.empty((3, 3))
    for _ in range(12):  # to the nearest rotation: R <- R (3 I - R^T R) / 2
        for i in range(3):
            for j in range(3):
                product = R[0, i] * R[0, j] + R[1, i] * R[1, j] + R[2, i] * R[2, j]
                square[i, j] = (1.5 if i == j else 0.0) - 0.5 * product
        for i in range(3):
            x, y, z = R[i, 0], R[i, 1], R[i, 2]
            for j in range(3):
                R[i, j] = x * square[0, j] + y * square[1, j] + z * square[2, j]
