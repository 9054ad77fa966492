# SPDX-License-Identifier: Apache-2.0
"""Run an estimator over labelled objects, one at a time, and keep each error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from nemo_model.errors import NemoError
from nemo_model.estimator import Estimate, Given
from nemo_model.evaluation.samples import Sample, StreetLabel
from nemo_model.mesh import Mesh
from nemo_model.pose import geodesic
from nemo_model.symmetry import NONE, of_object

PROTOCOLS = ("robot", "paper")
ALL_PROTOCOLS = (*PROTOCOLS, "paper-subtype")
"""The last differs from "paper" only where a model has several meshes."""


class PoseEstimator(Protocol):
    """What is evaluated: nemo_model.estimator.Estimator, or a test's double of it.

    It may have a `symmetry`; of the poses that look alike, by the object's own symmetry where the
    data set tells it, the one nearest to the truth counts.
    """

    mesh: Mesh
    metres_per_unit: float

    def estimate(
        self,
        image: np.ndarray,
        K: np.ndarray,
        box: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        given: Given | None = None,
    ) -> Estimate: ...


@dataclass(frozen=True)
class Result:
    """One object's outcome.

    Degrees, metres and milliseconds (crop, features, solve, total). position_error_m is None where
    the truth has no metres. failure: why there is no estimate, "" where there is one; such an
    object counts as wrong (180 degrees, scores 0). score_10: P(error < 10 degrees).
    subtype: the CAD model whose mesh was taken, 0 where the model has one for all.
    rotation_nees, position_nees: squared error in units of its covariance, None where there is no
    estimate or no truth.
    """

    name: str
    index: int
    rotation_error_deg: float
    score: float
    azimuth_deg: float
    visible_fraction: float
    position_error_m: float | None
    street: StreetLabel | None
    milliseconds: Mapping[str, float]
    failure: str = ""
    score_10: float = 0.0
    rotation_nees: float | None = None
    position_nees: float | None = None
    subtype: int = 0


def evaluate(
    estimator: PoseEstimator, samples: Iterable[Sample], protocol: str
) -> Iterator[Result]:
    """Estimate each sample's pose from nothing but image, box and K ("robot", 6 degrees of
    freedom), with centre and distance given as well ("paper", 3 degrees of freedom), or with the
    annotated CAD model too ("paper-subtype", as the paper chooses among several meshes).

    Objects of one image, one after the other in `samples`, are estimated in competition under
    "robot", as in the node (nemo_model/together.py). The first sample is run once more beforehand,
    so that compiling and loading are not timed.

    Raises:
        NemoError: on an unknown protocol.
        DatasetError: naming the file, on unreadable images.
    """
    if protocol not in ALL_PROTOCOLS:
        known = ", ".join(ALL_PROTOCOLS)
        raise NemoError(f"protocol '{protocol}' is not known; choose one of {known}")
    for number, (_, group) in enumerate(groupby(samples, key=lambda one: one.image_path)):
        objects = list(group)
        if number == 0:
            evaluate_one(estimator, objects[0], protocol)
        if protocol == "robot" and len(objects) > 1 and hasattr(estimator, "estimate_together"):
            yield from _together(estimator, objects)
        else:
            yield from (evaluate_one(estimator, sample, protocol) for sample in objects)


def evaluate_one(estimator: PoseEstimator, sample: Sample, protocol: str) -> Result:
    """Estimate one sample's pose and compare it with the truth."""
    image = sample.read_image()
    given = given_of(estimator, sample, protocol)
    try:
        estimate = estimator.estimate(image, sample.K, sample.box, given=given)
    except NemoError as error:
        return _failed(sample, str(error))
    return _compared(estimator, sample, estimate)


def _together(estimator: Any, samples: Sequence[Sample]) -> Iterator[Result]:
    """The objects of one image; one by one where one of them is refused."""
    image, K = samples[0].read_image(), samples[0].K
    try:
        estimates = estimator.estimate_together(image, K, [sample.box for sample in samples])
    except NemoError:
        yield from (evaluate_one(estimator, sample, "robot") for sample in samples)
        return
    for sample, estimate in zip(samples, estimates, strict=True):
        yield _compared(estimator, sample, estimate)


def _compared(estimator: PoseEstimator, sample: Sample, estimate: Estimate) -> Result:
    symmetry = of_object(sample.symmetry, getattr(estimator, "symmetry", NONE))
    truth, found = sample.T_cam_obj[:3, :3], estimate.T_cam_obj[:3, :3]
    found = symmetry.nearest(found, truth)
    turn = Rotation.from_matrix(truth @ found.T).as_rotvec()
    offset = _offset(estimator, estimate, sample)
    return Result(
        name=sample.name,
        index=sample.index,
        rotation_error_deg=math.degrees(geodesic(truth, found)),
        score=float(estimate.score),
        azimuth_deg=sample.azimuth_deg,
        visible_fraction=float(estimate.visible_fraction),
        position_error_m=None if offset is None else float(np.linalg.norm(offset)),
        street=sample.street,
        milliseconds=dict(estimate.milliseconds),
        score_10=float(estimate.score_10),
        rotation_nees=_nees(turn, estimate.covariance[3:, 3:]),
        position_nees=None if offset is None else _nees(offset, estimate.covariance[:3, :3]),
        subtype=estimate.subtype,
    )


def given_of(estimator: PoseEstimator, sample: Sample, protocol: str) -> Given | None:
    """What a protocol tells of a sample besides image, box and K."""
    if protocol == "robot":
        return None
    distance = sample.depth / (estimator.metres_per_unit if sample.metric else 1.0)
    told = sample.subtype if protocol == "paper-subtype" and sample.subtype else None
    return Given(sample.centre_px, distance, told)


def _offset(estimator: PoseEstimator, estimate: Estimate, sample: Sample) -> np.ndarray | None:
    """From the estimated box's centre to the true one (3,), metres."""
    if sample.street is None:
        return None
    middle = (estimator.mesh.lo + estimator.mesh.hi) / 2 * estimator.metres_per_unit
    centre = estimate.T_cam_obj[:3, :3] @ middle + estimate.T_cam_obj[:3, 3]
    return np.asarray(sample.street.centre - centre)


def _nees(error: np.ndarray, covariance: np.ndarray) -> float:
    """Normalised estimation error squared: error^T C^-1 error."""
    return float(error @ np.linalg.solve(covariance, error))


def _failed(sample: Sample, reason: str) -> Result:
    return Result(
        name=sample.name,
        index=sample.index,
        rotation_error_deg=180.0,
        score=0.0,
        azimuth_deg=sample.azimuth_deg,
        visible_fraction=0.0,
        position_error_m=None,
        street=sample.street,
        milliseconds={},
        failure=reason,
    )
