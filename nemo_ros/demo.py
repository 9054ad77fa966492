# SPDX-License-Identifier: Apache-2.0
"""`make demo`: the shipped recording through the launched node over DDS, scored, filmed, reported.

Starts the genuine launch file, plays demo/recording into it at 10 Hz as a camera and a detector
would, collects /nemo/poses and /nemo/overlay, compares them with the ground truth and with what
`nemo replay` makes of the same bag. Exits 1 when the result is not sane.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nemo_model.errors import NemoError
from nemo_model.pose import geodesic
from nemo_ros import demo_outputs, scoring
from nemo_ros import replay as replaying
from nemo_ros.bags import Bag
from nemo_ros.replay import Topics
from nemo_ros.scoring import Answer, Match

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "demo" / "recording"
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

BANDS = ((0.0, 0.1), (0.1, 0.4), (0.4, 1.0))
"""Hidden shares that are scored apart."""
MIN_ANSWERED = 0.2
"""Sanity: share of the frames that must be answered (a busy machine drops some)."""
KEPT_UP = 0.95
"""Below this share of answered frames the user is told that the machine did not keep up."""
MIN_ACC_30 = 0.75
"""Sanity: share of the poses that must be within 30 degrees of the truth."""


@dataclass(frozen=True)
class Agreement:
    """How the live poses compare with those of `nemo replay`, over the objects that both have."""

    same: int  # to the last bit
    compared: int
    rotation_deg: float  # largest difference
    position_m: float  # largest difference


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="nemo_ros.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "demo", help="results")
    parser.add_argument("--bag", type=Path, default=RECORDING, help="recording to play")
    parser.add_argument("--model", type=Path, help="model bundle (models/car)")
    parser.add_argument("--rate", type=float, default=1.0, help="speed of playing (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the report")
    args = parser.parse_args(argv)
    if not args.rate > 0:
        parser.error("--rate must be positive")
    _isolate()
    try:
        return run(args)
    except NemoError as error:
        print(f"nemo demo: error: {error}", file=sys.stderr)
        return 2


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


def run(args: argparse.Namespace) -> int:
    """Play, score, draw. Returns 0, or 1 when the result is not sane."""
    begin = time.monotonic()
    bag = Bag(args.bag)
    topics = replaying.choose_topics(
        bag, TOPICS.image, TOPICS.camera_info, TOPICS.detections, TOPICS.ground_truth
    )
    truth = replaying.read_truth(bag, topics.ground_truth)
    hidden = demo_outputs.read_hidden(args.bag.parent / HIDDEN_CSV)
    args.out.mkdir(parents=True, exist_ok=True)

    live = _play(bag, topics, args)
    if not live.answers:
        print("nemo demo: no poses arrived on /nemo/poses; see the log in", args.out / "log")
        return 1
    print(f"the same {len(live.answers)} frames offline, as `nemo replay` does ...", flush=True)
    offline = demo_outputs.replay_frames(args.bag, topics, live.answers, truth, args.model)
    answers = [Answer(a.stamp_ns, a.objects) for a in live.answers.values()]
    scores = scoring.score(answers, truth)
    agreement = _compare(answers, offline.answers)

    film = demo_outputs.write_films(args.out, live, scores.matches, truth, hidden)
    page = args.out / "report.html"
    demo_outputs.write_report(page, args.bag, live, offline, scores, _words(agreement))
    _print_table(scores, hidden, live, agreement)
    for path in [*film, page]:
        print(f"  {path}")
    print(f"done in {time.monotonic() - begin:.0f} s")
    if not args.no_browser and sys.stdout.isatty() and os.environ.get("DISPLAY"):
        webbrowser.open(page.resolve().as_uri())
    return _verdict(scores)


def _play(bag: Bag, topics: Topics, args: argparse.Namespace) -> demo_outputs.Live:
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
    if args.model is not None:
        arguments["model"] = str(args.model.resolve())
    frames = bag.topics[topics.image].count
    with launched("pose.launch.py", arguments, log_dir=(args.out / "log").resolve()) as launch:
        words = " ".join(Path(word).name for word in launch.command[:2])
        print(f"{words} pose.launch.py, ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}")
        with BagPlayer(bag, topics) as player:
            print("waiting for the node ...", flush=True)
            waited = time.monotonic()
            player.wait_for_node(START_S, launch.check)
            print(f"node active after {time.monotonic() - waited:.1f} s; playing {args.bag.name}")
            with tqdm(total=frames, unit="frame", desc="live", mininterval=0.5) as bar:
                for _ in player.play(args.rate):
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


def _print_table(
    scores: scoring.Scores,
    hidden: Mapping[tuple[int, str], float],
    live: demo_outputs.Live,
    agreement: Agreement,
) -> None:
    totals = _totals(scores, hidden)
    print(f"\n{'live over DDS':<18}{'objects':>8}{'found':>7}{'<30 deg':>9}{'<10 deg':>9}"
          f"{'rotation':>10}{'position':>10}")  # fmt: skip
    for name, total, matches in totals:
        print(_row(name, total, matches))
    latency = [a.latency_ms for a in live.answers.values()]
    p50, p95 = np.percentile(latency, [50, 95])
    print(f"\n{len(live.answers)} of {live.frames} frames answered, {p50:.0f} ms after the image "
          f"(p95 {p95:.0f} ms)")  # fmt: skip
    if len(live.answers) < KEPT_UP * live.frames:
        print("this machine did not keep up with 10 Hz (is it busy?); `--rate 0.5` plays slower")
    print(f"live and offline: {_words(agreement)}\n")


def _totals(
    scores: scoring.Scores, hidden: Mapping[tuple[int, str], float]
) -> list[tuple[str, int, list[Match]]]:
    """Rows of the table: name, objects of the ground truth, those that were found."""
    rows = [("all", scores.truth_objects, list(scores.matches))]
    for low, high in BANDS:
        keys = {key for key, share in hidden.items() if low <= share < high}
        found = [m for m in scores.matches if (m.stamp_ns, m.truth_id) in keys]
        name = (
            f"hidden {100 * low:.0f}-{100 * high:.0f} %" if high < 1 else f"over {100 * low:.0f} %"
        )
        rows.append((name, len(keys), found))
    for one in scores.objects:
        rows.append(
            (f"car {one.id}", one.frames, [m for m in scores.matches if m.truth_id == one.id])
        )
    return rows


def _row(name: str, total: int, matches: Sequence[Match]) -> str:
    if not matches:
        return f"{name:<18}{total:>8}{0:>7}"
    rotation = np.array([m.rotation_deg for m in matches])
    position = np.median([m.position_m for m in matches])
    return (
        f"{name:<18}{total:>8}{len(matches):>7}{100 * (rotation < 30).mean():>7.0f} %"
        f"{100 * (rotation < 10).mean():>7.0f} %{np.median(rotation):>6.1f} deg{position:>8.2f} m"
    )


def _verdict(scores: scoring.Scores) -> int:
    """0, or 1 with a word on what is wrong."""
    answered = scores.answered_frames / max(scores.truth_frames, 1)
    accuracy = scores.summary()["acc_pi_6"] or 0.0
    if answered >= MIN_ANSWERED and accuracy >= MIN_ACC_30:
        return 0
    print(
        f"nemo demo: NOT SANE: {100 * answered:.0f} % of the frames answered (at least "
        f"{100 * MIN_ANSWERED:.0f} % expected), {100 * accuracy:.0f} % of the poses within 30 "
        f"degrees (at least {100 * MIN_ACC_30:.0f} % expected)",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
