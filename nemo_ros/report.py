# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page about a sequence: scores, curves over time, worst frames.

Everything is inside the file; it opens without a network. `Report` holds plain values, so a live
run can be reported in the same way as a replayed one.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nemo_model.page import jpeg, page, picture
from nemo_ros.diagnostics import percentile
from nemo_ros.plots import Curve, histogram, timeline
from nemo_ros.scoring import ObjectScore, Scores

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """What was published for one object in one frame. time_s from the first frame."""

    time_s: float
    track_id: str
    score: float
    visible_fraction: float
    distance_m: float


@dataclass(frozen=True)
class Picture:
    """An annotated frame (H, W, 3) uint8 RGB and a line about it."""

    image: Image
    caption: str


@dataclass(frozen=True)
class Report:
    """All that the page shows. latency_ms: by stage, one value per frame (or per object)."""

    title: str
    facts: Mapping[str, str]
    frames: int
    samples: Sequence[Sample]
    latency_ms: Mapping[str, Sequence[float]]
    scores: Scores | None = None
    start_ns: int = 0
    worst: Sequence[Picture] = field(default_factory=tuple)
    problems: Mapping[str, int] = field(default_factory=dict)  # text -> how often
    losses: Sequence[str] = field(default_factory=tuple)


def write(path: Path, report: Report) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """The page as text."""
    parts = [
        _losses(report.losses),
        _tiles(report),
        _facts(report.facts),
        _curves(report),
        _objects(report.scores),
        _latency(report),
        _worst(report),
        _problems(report.problems),
    ]
    return page(report.title, "".join(parts))


# -- sections -------------------------------------------------------------------------------------


def _tiles(report: Report) -> str:
    total = report.latency_ms.get("total", ())
    tiles: list[tuple[str, str, str]] = []
    if report.scores is not None:
        s = report.scores.summary()
        tiles += [
            ("rotation error, median", _value(s["rotation_median_deg"], "{:.1f}°"), ""),
            ("within 30° (π/6)", _percent(s["acc_pi_6"]), "of the objects found"),
            ("within 10° (π/18)", _percent(s["acc_pi_18"]), "of the objects found"),
            ("recall", _percent(s["recall"]), f"{s['found']} of {s['truth_objects']}"),
            (
                "position error, median",
                _value(s["position_median_m"], "{:.2f} m"),
                f"depth {_value(s['depth_median_share'], '{:+.1%}')}",
            ),
            (
                "identity",
                f"{s['id_switches']}",
                f"switches, {s['fragmentations']} interruptions, longest gap "
                f"{_value(s['longest_gap_s'], '{:.1f} s')}",
            ),
        ]
    tiles += [
        ("frames", str(report.frames), f"{len({x.track_id for x in report.samples})} track(s)"),
        (
            "time per frame, median",
            f"{percentile(total, 0.5):.0f} ms" if total else "–",
            f"p95 {percentile(total, 0.95):.0f} ms" if total else "",
        ),
    ]
    boxes = "".join(
        f'<div class="tile"><div class="name">{html.escape(name)}</div>'
        f'<div class="value">{html.escape(value)}</div>'
        f'<div class="note">{html.escape(note)}</div></div>'
        for name, value, note in tiles
    )
    return f'<section class="tiles">{boxes}</section>'


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
        for key, value in facts.items()
    )
    table = f'<table class="facts">{rows}</table>'
    return f"<details><summary>How this was made</summary>{table}</details>"


def _curves(report: Report) -> str:
    parts = []
    if report.scores is not None and report.scores.matches:
        for title, unit, pick, limits in (
            ("Rotation error", "degrees", lambda m: m.rotation_deg, (10.0, 30.0)),
            ("Position error", "m", lambda m: m.position_m, ()),
        ):
            curves = [
                Curve(
                    name or "object",
                    [(m.stamp_ns - report.start_ns) * 1e-9 for m in mine],
                    [pick(m) for m in mine],
                )
                for name in sorted({m.truth_id for m in report.scores.matches})
                if (mine := [m for m in report.scores.matches if m.truth_id == name])
            ]
            parts.append(_figure(timeline(title, unit, curves, limits), title))
    names = sorted({sample.track_id for sample in report.samples})
    for title, unit, pick_sample in (
        ("Score", "probability", lambda x: x.score),
        ("Visible part of the object", "share", lambda x: x.visible_fraction),
        ("Distance", "m", lambda x: x.distance_m),
    ):
        curves = [
            Curve(name, [x.time_s for x in seen], [pick_sample(x) for x in seen])
            for name in names
            if (seen := [x for x in report.samples if x.track_id == name])
        ]
        if curves:
            top = None if unit == "m" else 1.0
            parts.append(_figure(timeline(title, unit, curves, top=top), title))
    if not parts:
        return "<section><h2>Over time</h2><p>No object was found in any frame.</p></section>"
    return f'<section><h2>Over time</h2><div class="grid">{"".join(parts)}</div></section>'


def _objects(scores: Scores | None) -> str:
    if scores is None or not scores.objects:
        return ""
    heads = (
        "object",
        "category",
        "frames",
        "found",
        "rotation median / p90",
        "position median",
        "depth median",
        "id switches",
        "interruptions",
        "longest gap",
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    rows = "".join(_object_row(one) for one in scores.objects)
    return (
        "<section><h2>Objects</h2><table><thead><tr>"
        f"{head}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _object_row(one: ObjectScore) -> str:
    cells = (
        one.id or "(no id)",
        one.category,
        str(one.frames),
        f"{one.found} ({100 * one.found / max(one.frames, 1):.0f} %)",
        f"{_value(one.rotation_median_deg, '{:.1f}°')} / {_value(one.rotation_p90_deg, '{:.1f}°')}",
        _value(one.position_median_m, "{:.2f} m"),
        _value(one.depth_median_share, "{:+.1%}"),
        str(one.id_switches),
        str(one.fragmentations),
        f"{one.longest_gap_frames} frames, {one.longest_gap_s:.1f} s",
    )
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _latency(report: Report) -> str:
    filled = {name: values for name, values in report.latency_ms.items() if values}
    if not filled:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{percentile(values, share):.1f}</td>" for share in (0.5, 0.95, 0.99))
        + f"<td>{max(values):.1f}</td></tr>"
        for name, values in filled.items()
    )
    table = (
        "<table><thead><tr><th>stage, ms</th><th>p50</th><th>p95</th><th>p99</th><th>max</th>"
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )
    plot = ""
    if "total" in filled:
        plot = _figure(histogram("Time per frame", "ms", filled["total"]), "Time per frame")
    return f'<section><h2>Time</h2><div class="grid"><div>{table}</div>{plot}</div></section>'


def _worst(report: Report) -> str:
    if not report.worst:
        return ""
    order = "largest rotation error first" if report.scores is not None else "lowest score first"
    figures = "".join(
        f'<figure><img alt="" src="{jpeg(shown.image)}">'
        f"<figcaption>{html.escape(shown.caption)}</figcaption></figure>"
        for shown in report.worst
    )
    return (
        f"<section><h2>Worst frames</h2><p>{order}; green is seen, orange hatched is hidden, the "
        f'blue side is the front.</p><div class="frames">{figures}</div></section>'
    )


def _problems(problems: Mapping[str, int]) -> str:
    if not problems:
        return ""
    rows = "".join(
        f"<tr><td>{count}</td><td>{html.escape(text)}</td></tr>"
        for text, count in sorted(problems.items(), key=lambda item: (-item[1], item[0]))[:50]
    )
    return (
        "<section><h2>Inputs that could not be used</h2><table><thead><tr><th>times</th>"
        f"<th>what</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _losses(losses: Sequence[str]) -> str:
    if not losses:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in losses)
    return (
        f'<section class="loss"><h2>Not all of the bag could be read</h2><ul>{items}</ul></section>'
    )


# -- pieces ---------------------------------------------------------------------------------------


def _figure(svg: bytes, alt: str) -> str:
    return f'<img class="plot" alt="{html.escape(alt)}" src="{picture("svg+xml", svg)}">'


def _value(value: float | None, form: str) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return form.format(value)


def _percent(value: float | None) -> str:
    return _value(None if value is None else 100 * value, "{:.0f} %")
