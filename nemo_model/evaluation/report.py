# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of what `summary` made: percent, degrees, milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded so that it reads well in a terminal too."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def percent(value: float | None) -> str:
    """A share as percent, "-" where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def figure(value: float | None, digits: int = 1) -> str:
    """A number, "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def markdown(document: dict[str, Any]) -> str:
    """The whole report of one evaluation."""
    street = document.get("street")
    parts = [_title(document), _overall(document)]
    if street:
        parts += ["By occlusion flag and size of the box:", _street(street)]
    parts += ["By azimuth (0 sees the front, 180 the rear):", _azimuth(document)]
    parts += ["The scores, and the rotations of right estimates in their ellipsoids:"]
    parts.append(confidence_table({"all": document}))
    milliseconds = document["ms"]
    parts.append(
        "Milliseconds per object (median): "
        + ", ".join(f"{stage} {figure(milliseconds[stage], 2)}" for stage in milliseconds)
    )
    return "\n\n".join(parts)


def confidence_table(documents: dict[str, dict[str, Any]]) -> str:
    """What the scores and covariances of evaluations, by name, are worth."""
    header = ["", "< 30 deg %", "AUROC", "ECE", "NLL", "gross %", "in the best 80 %",
              "< 10 deg: AUROC", "ECE", "inside 50 / 90 / 99 %", "mean NEES"]  # fmt: skip
    rows = []
    for name, document in documents.items():
        score, covered = document["confidence"], document["covariance"]["rotation"]
        gross = {row["kept"]: row["gross"] for row in score.get("risk_coverage", [])}
        inside = " / ".join(percent(covered[f"inside_{share}"]) for share in (50, 90, 99))
        rows.append([
            name, percent(score["right"]), figure(score["auroc"], 3), figure(score["ece"], 3),
            figure(score["nll"], 3), percent(gross.get(1.0)), percent(gross.get(0.8)),
            figure(score["within_10"]["auroc"], 3), figure(score["within_10"]["ece"], 3),
            inside, figure(covered["mean_nees"], 2),
        ])  # fmt: skip
    return table(header, rows)


def _title(document: dict[str, Any]) -> str:
    level = f", occlusion level {document['level']}" if document.get("level") else ""
    if document.get("views", "all") != "all":
        level += f", {document['views']} views"
    return (
        f"{document['model']['name']} on {document['dataset']} {document['split']}{level}, "
        f"protocol {document['protocol']}: {document['objects']} objects, "
        f"{document['failed']} without an estimate"
    )


def _overall(document: dict[str, Any]) -> str:
    rows = [_cells("all", document)]
    if document.get("street"):
        headline = document["street"]["headline"]
        rows.append(_cells(headline["group"], headline))
    return table(_HEADER, rows)


def _street(street: dict[str, Any]) -> str:
    groups = [street["headline_flag_2"], *street["by_occlusion"], *street["by_height"]]
    rows = [_cells(row["group"], row) for row in [*groups, street["truncated"]] if row["n"]]
    return table(_HEADER, rows)


def _azimuth(document: dict[str, Any]) -> str:
    rows = [_cells(f"{row['azimuth_deg']:g}", row) for row in document["azimuth_bins"]]
    mean = document["azimuth_mean"]
    rows.append(["mean", "", percent(mean["acc_pi_6"]), percent(mean["acc_pi_18"]), "", "", ""])
    return table(_HEADER, rows)


_HEADER = (
    "", "n", "pi/6 %", "pi/18 %", "median deg", "flips %", "median position m",
)  # fmt: skip


def _cells(label: str, row: dict[str, Any]) -> list[str]:
    low, high = row["acc_pi_6_interval"]
    six = percent(row["acc_pi_6"])
    if row["n"]:
        six += f" ({100 * low:.0f}-{100 * high:.0f})"
    return [
        label,
        str(row["n"]),
        six,
        percent(row["acc_pi_18"]),
        figure(row["median_error_deg"]),
        percent(row["flip_rate"]),
        figure(row.get("median_position_error_m"), 2),
    ]
