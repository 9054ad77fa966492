# SPDX-License-Identifier: Apache-2.0
"""Poses against ground truth: errors, recall, and whether objects kept their identity.

Frames are compared by exact stamp. Within a frame an object and an estimate belong together when
they bear the same id, else when they are nearest: the angle between their viewing rays, in units
of the object's angular radius, plus the log of the ratio of their distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_model.symmetry import NONE, Symmetry
from nemo_ros.conversion import ObjectPose

Truth = Mapping[int, Sequence[ObjectPose]]
Symmetries = Mapping[str, Symmetry]

GATE = 1.0  # an estimate's centre must lie within the object's own angular radius
ID_GATE = 3.0  # when both bear the same id
DEFAULT_RADIUS_M = 1.0  # of a ground-truth object without a size


@dataclass(frozen=True)
class Answer:
    """What was estimated for one frame."""

    stamp_ns: int
    objects: tuple[ObjectPose, ...]


@dataclass(frozen=True)
class Match:
    """An estimate and the ground-truth object that it belongs to."""

    stamp_ns: int
    truth_id: str
    track_id: str
    category: str
    score: float
    rotation_deg: float  # geodesic
    position_m: float  # between the objects' origins
    depth_share: float  # (estimated - true) / true distance


@dataclass(frozen=True)
class ObjectScore:
    """One ground-truth object over the whole sequence."""

    id: str
    category: str
    frames: int  # frames that the ground truth has it in
    found: int  # of these, frames with an estimate
    id_switches: int  # times that its estimate came under another id than the last one
    fragmentations: int  # times that it was lost and found again
    longest_gap_frames: int
    longest_gap_s: float
    rotation_median_deg: float
    rotation_p90_deg: float
    position_median_m: float
    depth_median_share: float


@dataclass(frozen=True)
class Scores:
    """All that can be said; `summary` is the part for a table."""

    matches: tuple[Match, ...]
    objects: tuple[ObjectScore, ...]
    truth_frames: int
    answered_frames: int  # ground-truth frames that were answered at all (also with nothing)
    truth_objects: int  # summed over frames
    unmatched_estimates: int  # in answered frames that have ground truth

    def summary(self) -> dict[str, Any]:
        """Plain numbers; None where there is nothing to average."""
        rotation = [m.rotation_deg for m in self.matches]
        found = len(self.matches)
        return {
            "truth_frames": self.truth_frames,
            "answered_frames": self.answered_frames,
            "truth_objects": self.truth_objects,
            "found": found,
            "recall": found / self.truth_objects if self.truth_objects else None,
            "unmatched_estimates": self.unmatched_estimates,
            "acc_pi_6": _share(rotation, 30.0),
            "acc_pi_18": _share(rotation, 10.0),
            "rotation_median_deg": _percentile(rotation, 50),
            "rotation_p90_deg": _percentile(rotation, 90),
            "position_median_m": _percentile([m.position_m for m in self.matches], 50),
            "position_p90_m": _percentile([m.position_m for m in self.matches], 90),
            "depth_median_share": _percentile([m.depth_share for m in self.matches], 50),
            "id_switches": sum(o.id_switches for o in self.objects),
            "fragmentations": sum(o.fragmentations for o in self.objects),
            "longest_gap_s": max((o.longest_gap_s for o in self.objects), default=None),
        }


def score(answers: Iterable[Answer], truth: Truth, symmetries: Symmetries | None = None) -> Scores:
    """Compare answers with ground truth by stamp.

    symmetries: by category; a category without one has none.

    Ground-truth frames without an answer count as missed. Answers of frames that the ground truth
    does not have are left out.
    """
    by_stamp = {answer.stamp_ns: answer for answer in answers}
    matches: list[Match] = []
    unmatched = 0
    for stamp in sorted(truth):
        answer = by_stamp.get(stamp)
        if answer is None:
            continue
        found = match_frame(stamp, truth[stamp], answer.objects, symmetries)
        unmatched += len(answer.objects) - len(found)
        matches += found
    return Scores(
        matches=tuple(matches),
        objects=tuple(_objects(truth, matches)),
        truth_frames=len(truth),
        answered_frames=sum(stamp in by_stamp for stamp in truth),
        truth_objects=sum(len(objects) for objects in truth.values()),
        unmatched_estimates=unmatched,
    )


def match_frame(
    stamp_ns: int,
    truth: Sequence[ObjectPose],
    found: Sequence[ObjectPose],
    symmetries: Symmetries | None = None,
) -> list[Match]:
    """The pairs of one frame with their errors, in the order of the ground truth."""
    known = symmetries or {}
    return [
        _match(stamp_ns, truth[i], found[j], known.get(truth[i].category, NONE))
        for i, j in pair_up(truth, found)
    ]


def pair_up(truth: Sequence[ObjectPose], found: Sequence[ObjectPose]) -> list[tuple[int, int]]:
    """Pairs (i of truth, j of found) of one category, the nearest first, each used once."""
    candidates = []
    for i, real in enumerate(truth):
        for j, guess in enumerate(found):
            if real.category != guess.category:
                continue
            angle = _angle_in_radii(real, guess)
            same = bool(real.id) and real.id == guess.id
            if angle > (ID_GATE if same else GATE):
                continue
            cost = angle + abs(math.log(_distance(guess) / _distance(real)))
            candidates.append((not same, cost, i, j))
    pairs: list[tuple[int, int]] = []
    for _, _, i, j in sorted(candidates):
        if all(i != other_i and j != other_j for other_i, other_j in pairs):
            pairs.append((i, j))
    return sorted(pairs)


def _distance(pose: ObjectPose) -> float:
    return max(float(np.linalg.norm(pose.T_cam_obj[:3, 3])), 1e-6)


def _angle_in_radii(real: ObjectPose, guess: ObjectPose) -> float:
    """Angle between the rays to both centres over the angle under which the object's radius is."""
    a, b = real.T_cam_obj[:3, 3], guess.T_cam_obj[:3, 3]
    angle = math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))
    radius = float(np.linalg.norm(real.size)) / 2 or DEFAULT_RADIUS_M
    return angle / math.atan2(radius, _distance(real))


def _match(stamp: int, real: ObjectPose, guess: ObjectPose, symmetry: Symmetry) -> Match:
    a, b = real.T_cam_obj, guess.T_cam_obj
    return Match(
        stamp_ns=stamp,
        truth_id=real.id,
        track_id=guess.id,
        category=real.category,
        score=guess.score,
        rotation_deg=math.degrees(symmetry.angle(b[:3, :3], a[:3, :3])),
        position_m=float(np.linalg.norm(a[:3, 3] - b[:3, 3])),
        depth_share=_distance(guess) / _distance(real) - 1.0,
    )


def _objects(truth: Truth, matches: Sequence[Match]) -> list[ObjectScore]:
    """One line per ground-truth id. Objects without an id share the line ""."""
    found = {(match.stamp_ns, match.truth_id): match for match in matches}
    stamps: dict[str, list[int]] = {}
    categories: dict[str, str] = {}
    for stamp in sorted(truth):
        for real in truth[stamp]:
            stamps.setdefault(real.id, []).append(stamp)
            categories[real.id] = real.category
    return [
        _object(name, categories[name], times, [found.get((t, name)) for t in times])
        for name, times in sorted(stamps.items())
    ]


def _object(
    name: str, category: str, times: Sequence[int], seen: Sequence[Match | None]
) -> ObjectScore:
    hits = [match for match in seen if match is not None]
    switches = sum(a.track_id != b.track_id for a, b in pairwise(hits))
    fragmentations = 0
    was_found = False  # ever
    gap, longest, longest_s = 0, 0, 0.0
    gap_start = times[0]
    for i, match in enumerate(seen):
        if match is None:
            gap_start = times[i] if gap == 0 else gap_start
            gap += 1
        else:
            fragmentations += was_found and gap > 0
            was_found, gap = True, 0
        if gap > longest:
            end = times[i + 1] if i + 1 < len(times) else times[i]
            longest, longest_s = gap, (end - gap_start) * 1e-9
    rotation = np.array([m.rotation_deg for m in hits])
    return ObjectScore(
        id=name,
        category=category,
        frames=len(times),
        found=len(hits),
        id_switches=switches,
        fragmentations=int(fragmentations),
        longest_gap_frames=longest,
        longest_gap_s=longest_s,
        rotation_median_deg=_or_nan(rotation, 50),
        rotation_p90_deg=_or_nan(rotation, 90),
        position_median_m=_or_nan(np.array([m.position_m for m in hits]), 50),
        depth_median_share=_or_nan(np.array([m.depth_share for m in hits]), 50),
    )


def _or_nan(values: NDArray[np.float64], percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else math.nan


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _share(values: Sequence[float], limit: float) -> float | None:
    return sum(value < limit for value in values) / len(values) if values else None


# -- as plain values ------------------------------------------------------------------------------


def as_json(scores: Scores) -> dict[str, Any]:
    """Summary, objects and every match; NaN becomes None."""
    return {
        "summary": scores.summary(),
        "objects": [_finite(asdict(one)) for one in scores.objects],
        "matches": [_finite(asdict(one)) for one in scores.matches],
    }


def as_text(scores: Scores) -> str:
    """A few lines for the terminal."""
    s = scores.summary()
    lines = [f"  found {s['found']} of {s['truth_objects']} objects{_in(s['recall'])}"]
    if scores.matches:
        lines += [
            f"  rotation: median {s['rotation_median_deg']:.1f} deg, "
            f"{100 * s['acc_pi_6']:.0f} % within 30, {100 * s['acc_pi_18']:.0f} % within 10",
            f"  position: median {s['position_median_m']:.2f} m, "
            f"depth {100 * s['depth_median_share']:+.1f} %",
        ]
    lines.append(
        f"  identity: {s['id_switches']} switches, {s['fragmentations']} interruptions"
        + ("" if s["longest_gap_s"] is None else f", longest gap {s['longest_gap_s']:.1f} s")
    )
    if s["unmatched_estimates"]:
        lines.append(f"  {s['unmatched_estimates']} estimates belong to no object")
    return "\n".join(lines)


def _in(recall: float | None) -> str:
    return "" if recall is None else f" ({100 * recall:.0f} %)"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
