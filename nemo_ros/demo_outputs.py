# SPDX-License-Identifier: Apache-2.0
"""What `make demo` leaves behind: captioned films, the HTML report, the replay to compare with."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nemo_model.errors import NemoError
from nemo_model.tracker import Tracker
from nemo_ros import conversion, report, scoring
from nemo_ros import replay as replaying
from nemo_ros.bags import Bag, Raw
from nemo_ros.conversion import ObjectPose
from nemo_ros.gallery import Gallery
from nemo_ros.movie import Movie
from nemo_ros.pipeline import load_estimators, warm_up
from nemo_ros.replay import ReplayConfig, Tally, Topics
from nemo_ros.scoring import Answer, Match
from nemo_ros.settings import default_model
from nemo_ros.timing import Timing

if TYPE_CHECKING:
    from nemo_ros.bag_player import LiveAnswer

Image = NDArray[np.uint8]

FILMS = ("demo.mp4", "demo.webp")
"""Both, since neither opens everywhere: a player takes the first, a browser the second."""


@dataclass(frozen=True)
class Live:
    """What came back from the node: answers and overlay (JPEG) by stamp; frames that were sent."""

    answers: Mapping[int, LiveAnswer]
    overlays: Mapping[int, bytes]
    frames: int


@dataclass(frozen=True)
class Offline:
    """What `nemo replay` makes of the same bag."""

    answers: Sequence[Answer]
    visible: Mapping[tuple[int, str], float]  # (stamp, id) -> estimated visible share
    timing: Timing
    worst: Sequence[report.Picture]
    model: str
    symmetries: scoring.Symmetries


def read_hidden(path: Path) -> dict[tuple[int, str], float]:
    """Hidden share of each object by (stamp, id). Raises NemoError when the file is not usable."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                (int(row["stamp_ns"]), row["id"]): float(row["hidden"])
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError) as error:
        raise NemoError(f"{path}: needs columns stamp_ns, id, hidden ({error})") from error


class _Excerpt(Bag):
    """A bag of which only the frames of some stamps are seen."""

    def __init__(self, path: Path, topics: Topics, stamps: Collection[int]) -> None:
        super().__init__(path)
        self._always, self._kept = topics.camera_info, frozenset(stamps)

    def messages(self, ranks: Mapping[str, int]) -> Iterator[Raw]:
        """As a bag gives them, without the frames that are not wanted."""
        for raw in super().messages(ranks):
            if raw.topic == self._always or conversion.stamp_ns(self.decode(raw)) in self._kept:
                yield raw


def replay_frames(
    path: Path, topics: Topics, stamps: Collection[int], truth: scoring.Truth, model: Path | None
) -> Offline:
    """The same pipeline without DDS, with the node's settings, on the frames that it answered.

    A frame that the busy node left out must be left out here as well: the tracks after it would
    have been started from another pose.
    """
    estimators = load_estimators(str(model or default_model()))
    warm_up(estimators)
    config = ReplayConfig()
    symmetries = {name: each.symmetry for name, each in estimators.items()}
    gallery, timing, tally = Gallery(truth, symmetries), Timing(), Tally()
    answers: list[Answer] = []
    visible: dict[tuple[int, str], float] = {}
    tracker = Tracker(estimators, config.tracker)
    bag = _Excerpt(path, topics, stamps)
    for record in replaying.replay(bag, topics, tracker, config, tally):
        answers.append(record.answer())
        timing.add(record)
        gallery.add(record, answers[0].stamp_ns)
        for track in record.outcome.result.tracks:
            visible[record.stamp_ns, track.id] = track.estimate.visible_fraction
    names = ", ".join(f"{e.bundle.card.name} {e.bundle.digest}" for e in estimators.values())
    return Offline(answers, visible, timing, gallery.pictures(), names, symmetries)


# -- films ----------------------------------------------------------------------------------------


def write_films(
    out: Path,
    live: Live,
    matches: Sequence[Match],
    truth: scoring.Truth,
    hidden: Mapping[tuple[int, str], float],
) -> list[Path]:
    """Films of the live overlay with a caption of the true hidden share and error of each object.

    Returns:
        the files that could be written; a codec that this OpenCV lacks is left out.
    """
    errors = {(m.stamp_ns, m.truth_id): m.rotation_deg for m in matches}
    written = []
    for name in FILMS:
        path = out / name
        path.unlink(missing_ok=True)
        shown: Image | None = None
        try:
            with Movie(path, rate_hz=10.0) as film:
                for stamp in sorted(truth):
                    if stamp not in live.overlays:  # left out by the busy node: hold the last one
                        if shown is not None:
                            film.add(shown, stamp)
                        continue
                    lines = [
                        _caption(real, hidden.get((stamp, real.id)), errors.get((stamp, real.id)))
                        for real in truth.get(stamp, ())
                    ]
                    data = np.frombuffer(live.overlays[stamp], np.uint8)
                    picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1]
                    shown = caption(picture, lines)
                    film.add(shown, stamp)
        except NemoError:
            continue
        if path.is_file():
            written.append(path)
    return written


def _caption(real: ObjectPose, hidden: float | None, error: float | None) -> list[str]:
    """What is said of an object, in one line or two."""
    said = "not found" if error is None else f"{error:.0f} deg off"
    lines = [f"{real.category} {real.id}: {said}"]
    return lines if hidden is None else [*lines, f"{100 * hidden:.0f} % hidden"]


def caption(image: Image, texts: Sequence[Sequence[str]]) -> Image:
    """A copy of an image (H, W, 3) RGB with a dark strip below it, a column of lines per text."""
    height, width = image.shape[:2]
    line, columns = max(18, round(height / 18)), max(len(texts), 1)
    rows = max((len(text) for text in texts), default=1)
    canvas = np.full((height + line * rows, width, 3), 22, np.uint8)
    canvas[:height] = image
    font, scale, margin = cv2.FONT_HERSHEY_DUPLEX, line / 42, line // 3
    widest = max(
        (cv2.getTextSize(one, font, scale, 1)[0][0] for t in texts for one in t), default=1
    )
    scale *= min(1.0, (width / columns - 2 * margin) / max(widest, 1))
    for column, text in enumerate(texts):
        for row, one in enumerate(text):
            at = (round(width * column / columns) + margin, height + line * row + line * 7 // 10)
            cv2.putText(canvas, one, at, font, scale, (235, 240, 245), 1, cv2.LINE_AA)
    return canvas


# -- report ---------------------------------------------------------------------------------------


def write_report(
    path: Path,
    bag: Path,
    live: Live,
    offline: Offline,
    scores: scoring.Scores,
    agreement: str,
) -> None:
    """The page of the live run; what messages do not carry is the replay's, and it says so."""
    start = min(live.answers)
    samples = [
        report.Sample(
            time_s=(stamp - start) * 1e-9,
            track_id=one.id,
            score=one.score,
            visible_fraction=offline.visible[stamp, one.id],
            distance_m=float(np.linalg.norm(one.T_cam_obj[:3, 3])),
        )
        for stamp, answer in live.answers.items()
        for one in answer.objects
        if (stamp, one.id) in offline.visible
    ]
    latency = {"total": [a.latency_ms for a in live.answers.values()]}
    latency |= {f"replay: {name}": values for name, values in offline.timing.series.items()}
    report.write(
        path,
        report.Report(
            title="nemo_ros demo: live over DDS",
            facts={
                "recording": str(bag),
                "frames": f"{len(live.answers)} of {live.frames} answered",
                "time per frame": "from sending the image to receiving the poses, in the live run",
                "live and offline": agreement,
                "visible part, worst frames": "from `nemo replay` of the same frames",
                "model": offline.model,
            },
            frames=len(live.answers),
            samples=samples,
            latency_ms=latency,
            scores=scores,
            start_ns=start,
            worst=offline.worst,
        ),
    )
