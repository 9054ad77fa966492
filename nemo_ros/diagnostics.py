# SPDX-License-Identifier: Apache-2.0
"""What the node knows about its own health: counters, latency percentiles, states with reasons.

Pure Python and thread safe; `nemo_ros.conversion` makes the DiagnosticArray of it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Status:
    """One line of /diagnostics: level, what it is about, one sentence, facts."""

    name: str
    level: Level
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackFacts:
    """What is told about a track: numbers as they were published; state in words.

    published: its pose was in the last message.
    """

    id: str
    category: str
    score: float
    visible_fraction: float
    mode: str
    hits: int
    reason: str
    state: str = "tracking"
    published: bool = True


def facts_of(track: Any, published: bool) -> TrackFacts:
    """Of a track of `nemo_model.tracker`."""
    return TrackFacts(
        id=track.id,
        category=track.estimate.category,
        score=track.estimate.score,
        visible_fraction=track.estimate.visible_fraction,
        mode=track.estimate.mode,
        hits=track.hits,
        reason=track.reason,
        state=str(track.state),
        published=published,
    )


def model_facts(estimators: Mapping[str, Any]) -> dict[str, str]:
    """Provider in use and hash of every model."""
    facts = {}
    for category, estimator in estimators.items():
        bundle = getattr(estimator, "bundle", None)
        extractor = getattr(estimator, "extractor", None)
        facts[f"model {category} sha256"] = str(getattr(bundle, "digest", "unknown"))
        facts[f"model {category} provider"] = str(getattr(extractor, "provider", "unknown"))
    return facts


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile (share in [0, 1]); NaN without values."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


class Health:
    """Counts what happens between reports, and over the node's life.

    Problems are counted by kind; a kind that occurred since the last report raises the level to
    WARN with its last text, later reports keep the count and fall back to OK.
    """

    def __init__(self, window: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        """window: number of last frames that percentiles are taken over."""
        self._lock = threading.Lock()
        self._clock = clock
        self._latency_ms: deque[float] = deque(maxlen=window)
        self._solve_ms: deque[float] = deque(maxlen=window)
        self._counts: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._new_problems: dict[str, str] = {}
        self._last_text: dict[str, str] = {}
        self._tracks: tuple[TrackFacts, ...] = ()
        self._seen: dict[str, float] = {}
        self._frames_at_report = 0
        self._last_report = clock()
        self._facts: dict[str, str] = {}
        self._error: str | None = None
        self._calibration: str | None = None

    def saw(self, stream: str) -> None:
        """A message of an input ("image", "boxes", "camera_info") arrived."""
        with self._lock:
            self._seen[stream] = self._clock()
            self._counts[f"{stream} received"] += 1

    def count(self, name: str, number: int = 1) -> None:
        """Something worth counting that is no problem of the input (a drop)."""
        with self._lock:
            self._counts[name] += number

    def gauge(self, name: str, value: int) -> None:
        """A counter that somebody else keeps."""
        with self._lock:
            self._counts[name] = value

    def problem(self, kind: str, text: str) -> None:
        """A bad input of a kind, survived; ``text`` says what was wrong.

        kind: "image", "boxes", "order", ...; "camera_info" also ends the calibration.
        """
        with self._lock:
            self._problems[kind] += 1
            self._new_problems[kind] = text
            self._last_text[kind] = text
            if kind == "camera_info":
                self._calibration = None

    def frame(self, latency_ms: float, solve_ms: float, tracks: Iterable[TrackFacts]) -> None:
        """A frame was answered, latency_ms after its image had arrived."""
        with self._lock:
            self._counts["frames answered"] += 1
            self._latency_ms.append(latency_ms)
            self._solve_ms.append(solve_ms)
            self._tracks = tuple(tracks)

    def calibrated(self, text: str) -> None:
        """A usable camera_info was taken; ``text`` says which."""
        with self._lock:
            self._calibration = text

    def facts(self, facts: Mapping[str, str]) -> None:
        """Facts that hold until they are replaced (model, provider)."""
        with self._lock:
            self._facts = dict(facts)

    def error(self, text: str | None) -> None:
        """A state the node cannot work in (model missing), or None when it is over."""
        with self._lock:
            self._error = text

    def clear_tracks(self) -> None:
        with self._lock:
            self._tracks = ()

    def counts(self) -> dict[str, int]:
        """All counters so far."""
        with self._lock:
            return {**self._counts, **{f"problems: {k}": v for k, v in self._problems.items()}}

    def report(self, state: str, timeout_s: float = 3.0) -> list[Status]:
        """The statuses since the last report. state: the lifecycle state in words."""
        with self._lock:
            now = self._clock()
            statuses = [
                self._pipeline(state, now),
                self._input(state, now, timeout_s),
                self._camera(state),
                *self._track_statuses(),
            ]
            self._new_problems.clear()
            self._frames_at_report = self._counts["frames answered"]
            self._last_report = now
            return statuses

    def _pipeline(self, state: str, now: float) -> Status:
        frames = self._counts["frames answered"]
        elapsed = max(now - self._last_report, 1e-9)
        values = {
            "state": state,
            "frames answered": str(frames),
            "rate (Hz)": f"{(frames - self._frames_at_report) / elapsed:.1f}",
        }
        for name, series in (("latency", self._latency_ms), ("solve", self._solve_ms)):
            for share in (0.5, 0.95, 0.99):
                values[f"{name} p{share * 100:.0f} (ms)"] = f"{percentile(series, share):.1f}"
        values |= {k: str(v) for k, v in sorted(self._counts.items()) if k not in values}
        values |= self._facts
        if self._error is not None:
            return Status("pose", Level.ERROR, self._error, values)
        if state != "active":
            return Status("pose", Level.WARN, f"{state}: no poses are estimated", values)
        return Status(
            "pose",
            Level.OK,
            f"active, {sum(track.published for track in self._tracks)} track(s)",
            values,
        )

    def _input(self, state: str, now: float, timeout_s: float) -> Status:
        values = {f"{kind} problems": str(n) for kind, n in sorted(self._problems.items())}
        values |= {f"{kind} last problem": t for kind, t in sorted(self._last_text.items())}
        silent = []
        for stream in ("image", "boxes", "camera_info"):
            seen = self._seen.get(stream)
            values[f"{stream} age (s)"] = "never" if seen is None else f"{now - seen:.1f}"
            # one camera_info is enough: some drivers latch it
            late = seen is None or (stream != "camera_info" and now - seen > timeout_s)
            if late:
                silent.append(stream)
        if self._new_problems:
            text = "; ".join(f"{k}: {t}" for k, t in sorted(self._new_problems.items()))
            return Status("input", Level.WARN, text, values)
        if state == "active" and silent:
            return Status("input", Level.WARN, f"nothing arrives on: {', '.join(silent)}", values)
        return Status("input", Level.OK, "as expected", values)

    def _camera(self, state: str) -> Status:
        if self._calibration is not None:
            return Status("camera", Level.OK, f"calibrated, {self._calibration}")
        if "camera_info" in self._last_text:
            return Status("camera", Level.ERROR, self._last_text["camera_info"])
        level = Level.WARN if state == "active" else Level.OK
        return Status("camera", level, "no camera_info yet")

    def _track_statuses(self) -> list[Status]:
        return [track_status(track) for track in self._tracks]


def track_status(track: TrackFacts) -> Status:
    """The line of one object: its state and why in the message, WARN unless it is tracked."""
    return Status(
        f"track {track.id}",
        Level.OK if track.state in ("tracking", "tentative") else Level.WARN,
        f"{track.state}: {track.reason or track.mode}",
        {
            "state": track.state,
            "reason": track.reason,
            "category": track.category,
            "score": f"{track.score:.3f}",
            "pose published": "yes" if track.published else "no",
            "visible fraction": f"{track.visible_fraction:.2f}",
            "mode": track.mode,
            "frames": str(track.hits),
        },
    )
