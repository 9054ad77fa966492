# SPDX-License-Identifier: Apache-2.0
"""From a list of results to the JSON document of `nemo evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from nemo_model.evaluation import metrics
from nemo_model.evaluation.evaluate import Result
from nemo_model.evaluation.samples import StreetLabel

STAGES = ("crop", "features", "solve", "total")
HEADLINE_HEIGHT_PX = 40.0
HEIGHTS_PX = ((0.0, 25.0), (25.0, 40.0), (40.0, 80.0), (80.0, math.inf))
OCCLUSION_FLAGS = {0: "visible", 1: "partly hidden", 2: "largely hidden", 3: "unknown"}


def summarise(results: Sequence[Result]) -> dict[str, Any]:
    """Accuracy, time, tables and the list of images; JSON-ready, None where there is no figure."""
    document: dict[str, Any] = {
        "objects": len(results),
        "failed": sum(1 for result in results if result.failure),
        **figures(results),
        "ms": {stage: metrics.number(_stage(results, stage)) for stage in STAGES},
        "azimuth_bins": azimuth_table(results),
        "azimuth_mean": azimuth_mean(results),
        "confidence": confidence(results),
        "covariance": covariance(results),
    }
    if any(result.street for result in results):
        document["street"] = street_tables(results)
    document["images"] = [entry(result) for result in results]
    return document


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """Accuracy with Wilson's 95 % interval, median error, flips."""
    errors = [result.rotation_error_deg for result in results]
    row: dict[str, Any] = {"n": len(errors)}
    for name, limit in (("acc_pi_6", metrics.PI_6), ("acc_pi_18", metrics.PI_18)):
        right = sum(error < limit for error in errors)
        row[name] = metrics.number(metrics.accuracy(errors, limit))
        row[f"{name}_interval"] = list(metrics.wilson(right, len(errors)))
    row["median_error_deg"] = metrics.number(metrics.median(errors))
    row["flip_rate"] = metrics.number(metrics.flip_rate(errors))
    positions = [r.position_error_m for r in results if r.position_error_m is not None]
    if positions:
        row["median_position_error_m"] = metrics.number(metrics.median(positions))
    return row


def azimuth_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Figures by the true azimuth: 8 bins centred on 0 (front), 45, ..., 180 (rear), ... deg."""
    width = 360.0 / metrics.AZIMUTH_BINS
    return [
        {"azimuth_deg": k * width}
        | figures([r for r in results if metrics.azimuth_bin(r.azimuth_deg) == k])
        for k in range(metrics.AZIMUTH_BINS)
    ]


def azimuth_mean(results: Sequence[Result]) -> dict[str, float | None]:
    """Mean of the bins' accuracies: what views spread evenly over azimuth would give."""
    rows = [row for row in azimuth_table(results) if row["n"]]
    return {
        key: float(np.mean([row[key] for row in rows])) if rows else None
        for key in ("acc_pi_6", "acc_pi_18")
    }


def confidence(results: Sequence[Result]) -> dict[str, Any]:
    """How well the scores tell whether the error is below 30 (and 10) degrees: AUROC, ECE, NLL,
    the gross errors among the best-scored, the reliability diagram."""
    scores = [result.score for result in results]
    errors = [result.rotation_error_deg for result in results]
    return (
        metrics.score_figures(scores, errors)
        | metrics.score_curves(scores, errors)
        | {"within_10": metrics.score_figures([r.score_10 for r in results], errors, metrics.PI_18)}
    )


def covariance(results: Sequence[Result]) -> dict[str, Any]:
    """How often right estimates (error below 30 degrees) lie in their ellipsoids."""
    right = [r for r in results if r.rotation_error_deg < metrics.PI_6]
    found = {"rotation": metrics.coverage([_or_nan(r.rotation_nees) for r in right])}
    if any(r.position_nees is not None for r in right):
        found["position"] = metrics.coverage([_or_nan(r.position_nees) for r in right])
    return found


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def street_tables(results: Sequence[Result]) -> dict[str, Any]:
    """KITTI: the headline (tall, uncut, at most partly hidden), by flag and by size."""
    cars = [(result, result.street) for result in results if result.street is not None]

    def table(label: str, choose: Callable[[StreetLabel], bool]) -> dict[str, Any]:
        return {"group": label} | figures([result for result, label in cars if choose(label)])

    def tall(label: StreetLabel) -> bool:
        return label.height_px >= HEADLINE_HEIGHT_PX and label.truncated == 0

    return {
        "headline": table(
            "height >= 40 px, truncated == 0, occluded in {0, 1}",
            lambda label: tall(label) and label.occluded in (0, 1),
        ),
        "headline_flag_2": table(
            "height >= 40 px, truncated == 0, occluded == 2",
            lambda label: tall(label) and label.occluded == 2,
        ),
        "by_occlusion": [
            table(f"{flag} {text}", partial(_has_flag, flag))
            for flag, text in OCCLUSION_FLAGS.items()
        ],
        "by_height": [
            table(_range_text(low, high), partial(_has_height, low, high))
            for low, high in HEIGHTS_PX
        ],
        "truncated": table("cut", lambda label: label.truncated > 0),
    }


def _has_flag(flag: int, label: StreetLabel) -> bool:
    return label.occluded == flag


def _has_height(low: float, high: float, label: StreetLabel) -> bool:
    return low <= label.height_px < high


def _range_text(low: float, high: float) -> str:
    return f"{low:g} to {high:g} px" if math.isfinite(high) else f"{low:g} px and more"


def entry(result: Result) -> dict[str, Any]:
    """One object's line in the list `images`."""
    line: dict[str, Any] = {
        "name": result.name,
        "object": result.index,
        "rotation_error_deg": result.rotation_error_deg,
        "score": result.score,
        "score_10": result.score_10,
        "rotation_nees": result.rotation_nees,
        "ms": metrics.number(result.milliseconds.get("total", float("nan"))),
        "azimuth_deg": result.azimuth_deg,
        "visible_fraction": result.visible_fraction,
    }
    if result.street is not None:
        line |= {
            "occluded": result.street.occluded,
            "truncated": result.street.truncated,
            "height_px": result.street.height_px,
            "position_error_m": result.position_error_m,
        }
    if result.subtype:
        line["subtype"] = result.subtype
    if result.failure:
        line["failure"] = result.failure
    return line


def _stage(results: Sequence[Result], stage: str) -> float:
    return metrics.median([r.milliseconds[stage] for r in results if stage in r.milliseconds])
