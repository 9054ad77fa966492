# SPDX-License-Identifier: Apache-2.0
"""`make demo`: the shipped recordings through the launched node over DDS, scored, filmed, reported.

For each of them (nemo_ros/shows.py) starts the genuine launch file, plays the bag into it at 10 Hz
as a camera and a detector would, collects /nemo/poses and /nemo/overlay, compares them with the
ground truth and with what `nemo replay` makes of the same bag. Exits 1 when a result is not sane.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nemo_model.errors import NemoError
from nemo_model.pose import geodesic
from nemo_ros import demo_outputs, demo_table, scoring
from nemo_ros import replay as replaying
from nemo_ros.bags import Bag
from nemo_ros.replay import Topics
from nemo_ros.scoring import Answer
from nemo_ros.shows import ROOT, SHOWS, Show

HIDDEN_CSV = "ground_truth.csv"
TOPICS = Topics(
    image="/camera/image/compressed",
    camera_info="/camera/camera_info",
    detections="/detections",
    ground_truth="/ground_truth/poses",
)
START_S = 150.0
"""How long the node may take to start: the first time, numba compiles the solver."""
QUIET_S = 5.0
"""How long the last answers may take."""
KEPT_UP = 0.95
"""Below this share of answered frames the user is told that the machine did not keep up."""


@dataclass(frozen=True)
class Agreement:
    """How the live poses compare with those of `nemo replay`, over the objects that both have."""

    same: int  # to the last bit
    compared: int
    rotation_deg: float  # largest difference
    position_m: float  # largest difference


@dataclass(frozen=True)
class Played:
    """What came of a show. hidden: share in [0, 1] by stamp and id."""

    show: Show
    live: demo_outputs.Live
    scores: scoring.Scores
    hidden: demo_table.Hidden
    agreement: Agreement
    files: Sequence[Path]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="nemo_ros.demo", description=__doc__)
    names = [show.name for show in SHOWS]
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "demo", help="results")
    parser.add_argument("--only", choices=names, help="play one of the recordings that ship")
    parser.add_argument("--bag", type=Path, help="play this recording instead")
    parser.add_argument("--model", type=Path, help="model bundle or family for all that is played")
    parser.add_argument("--rate", type=float, default=1.0, help="speed of playing (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the report")
    args = parser.parse_args(argv)
    if not args.rate > 0:
        parser.error("--rate must be positive")
    if args.bag and args.only:
        parser.error("--bag and --only exclude one another")
    _isolate()
    try:
        return run(shows_of(args), args)
    except NemoError as error:
        print(f"nemo demo: error: {error}", file=sys.stderr)
        return 2


def shows_of(args: argparse.Namespace) -> list[Show]:
    """What the command line asks for."""
    if args.bag is not None:
        return [Show(args.bag.name, args.bag, args.model)]
    if args.model is not None:  # the first recording needs a car only
        first = [show for show in SHOWS if show.name == (args.only or SHOWS[0].name)]
        return [replace(show, model=args.model) for show in first]
    return [show for show in SHOWS if args.only in (None, show.name)]


def _isolate() -> None:
    """A DDS domain of its own on this machine only, and shared memory that images fit in."""
    defaults = {
        "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),  # Humble's name
        "OMP_NUM_THREADS": "1",
    }
    if os.environ.get("ROS_DISTRO") == "humble":  # does not know the discovery range yet
        defaults["ROS_LOCALHOST_ONLY"] = "1"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def run(shows: Sequence[Show], args: argparse.Namespace) -> int:
    """Play, score, draw each. Returns 0, or 1 when a result is not sane."""
    begin = time.monotonic()
    played = []
    for show in shows:
        out = args.out if len(shows) == 1 else args.out / show.name
        one = _perform(show, out, args.rate)
        if one is None:
            return 1
        played.append(one)
    for one in played:
        _print_table(one)
    if len(played) > 1:
        print(demo_table.head("by category"))
        for row in demo_table.by_category([one.scores for one in played]):
            print(demo_table.line(row))
        print()
    files = [path for one in played for path in one.files]
    for path in files:
        print(f"  {path}")
    print(f"done in {time.monotonic() - begin:.0f} s")
    if not args.no_browser and sys.stdout.isatty() and os.environ.get("DISPLAY"):
        for one in played:
            webbrowser.open(one.files[-1].resolve().as_uri())
    return _verdict(played)


def _perform(show: Show, out: Path, rate: float) -> Played | None:
    """Play a recording, live and offline; leave its films and its report. None without any pose."""
    bag = Bag(show.bag)
    topics = replaying.choose_topics(
        bag, TOPICS.image, TOPICS.camera_info, TOPICS.detections, TOPICS.ground_truth
    )
    truth = replaying.read_truth(bag, topics.ground_truth)
    hidden = demo_outputs.read_hidden(show.bag.parent / HIDDEN_CSV)
    out.mkdir(parents=True, exist_ok=True)

    live = _play(bag, topics, show, out / "log", rate)
    if not live.answers:
        print("nemo demo: no poses arrived on /nemo/poses; see the log in", out / "log")
        return None
    print(f"the same {len(live.answers)} frames offline, as `nemo replay` does ...", flush=True)
    offline = demo_outputs.replay_frames(show.bag, topics, live.answers, truth, show.model)
    answers = [Answer(a.stamp_ns, a.objects) for a in live.answers.values()]
    scores = scoring.score(answers, truth, offline.symmetries)
    agreement = _compare(answers, offline.answers)

    files = demo_outputs.write_films(out, live, scores.matches, truth, hidden)
    page = out / "report.html"
    demo_outputs.write_report(page, show.bag, live, offline, scores, _words(agreement))
    return Played(show, live, scores, hidden, agreement, [*files, page])


def _play(bag: Bag, topics: Topics, show: Show, log: Path, rate: float) -> demo_outputs.Live:
    """The live part: launch the node, play the bag into it, stop the node."""
    # imported here, so that --help and errors about files need no ROS
    from nemo_ros.bag_player import BagPlayer
    from nemo_ros.launching import launched

    arguments = {
        "image": topics.image,
        "image_transport": "compressed",
        "camera_info": topics.camera_info,
        "detections": topics.detections,
    }
    if show.model is not None:
        arguments["model"] = str(show.model.resolve())
    frames = bag.topics[topics.image].count
    with launched("pose.launch.py", arguments, log_dir=log.resolve()) as launch:
        words = " ".join(Path(word).name for word in launch.command[:2])
        print(f"{words} pose.launch.py, ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}")
        with BagPlayer(bag, topics) as player:
            print("waiting for the node ...", flush=True)
            waited = time.monotonic()
            player.wait_for_node(START_S, launch.check)
            print(f"node active after {time.monotonic() - waited:.1f} s; playing {show.name}")
            with tqdm(total=frames, unit="frame", desc="live", mininterval=0.5) as bar:
                for _ in player.play(rate):
                    bar.update()
                    bar.set_postfix(answered=len(player.answers), refresh=False)
            player.wait_for_answers(QUIET_S)
            launch.check()
            return demo_outputs.Live(dict(sorted(player.answers.items())), player.overlays, frames)


# -- comparing and printing -----------------------------------------------------------------------


def _compare(live: Sequence[Answer], offline: Sequence[Answer]) -> Agreement:
    """Objects of the same stamp and id, pose against pose."""
    poses = {(a.stamp_ns, o.id): o.T_cam_obj for a in offline for o in a.objects}
    pairs = [
        (o.T_cam_obj, poses[a.stamp_ns, o.id])
        for a in live
        for o in a.objects
        if (a.stamp_ns, o.id) in poses
    ]
    rotations = [float(np.degrees(geodesic(a[:3, :3], b[:3, :3]))) for a, b in pairs]
    positions = [float(np.linalg.norm(a[:3, 3] - b[:3, 3])) for a, b in pairs]
    # published poses hold a quaternion, so equal poses differ by its rounding
    same = sum(r < 1e-5 and p < 1e-9 for r, p in zip(rotations, positions, strict=True))
    return Agreement(same, len(pairs), max(rotations, default=0.0), max(positions, default=0.0))


def _words(agreement: Agreement) -> str:
    if agreement.same == agreement.compared:
        return f"the same {agreement.compared} poses as `nemo replay` gives for these frames"
    return (
        f"{agreement.same} of {agreement.compared} poses are those of `nemo replay` on these "
        f"frames, largest difference {agreement.rotation_deg:.2f} deg, {agreement.position_m:.3f} m"
    )


def _print_table(played: Played) -> None:
    print("\n" + demo_table.head(f"{played.show.name}, live"))
    for row in demo_table.rows(played.scores, played.hidden):
        print(demo_table.line(row))
    live = played.live
    latency = [a.latency_ms for a in live.answers.values()]
    p50, p95 = np.percentile(latency, [50, 95])
    print(f"\n{len(live.answers)} of {live.frames} frames answered, {p50:.0f} ms after the image "
          f"(p95 {p95:.0f} ms)")  # fmt: skip
    if len(live.answers) < KEPT_UP * live.frames:
        print("this machine did not keep up with 10 Hz (is it busy?); `--rate 0.5` plays slower")
    print(f"live and offline: {_words(played.agreement)}\n")


def _verdict(played: Sequence[Played]) -> int:
    """0, or 1 with a word on what is wrong."""
    wrong = [
        f"nemo demo: NOT SANE: {one.show.name}: {fault}"
        for one in played
        for fault in demo_table.faults(one.scores, one.show.bounds)
    ]
    for words in wrong:
        print(words, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
