# SPDX-License-Identifier: Apache-2.0
"""How far the scores and covariances of a bundle can be trusted: on photos never used to fit them.

    python benchmarks/confidence.py --root ../shared/data/stanford_cars3d \\
        --occluded occluded --occluders ../shared/data/backgrounds \\
        --photos ../shared/data/photos_without_pose --kitti ../shared/data/kitti_cars --write-card

writes benchmarks/results/confidence.json and confidence.md, docs/images/confidence.png, with
--write-card the figures into the model's card, and with --write-doc into docs/confidence.md.
Occluded copies are looked for in --occluded as nemo occlude leaves them, and made from --occluders
where they are missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nemo_model.bundle import read_card, write_card
from nemo_model.calibration import Calibration
from nemo_model.commands import occlude
from nemo_model.confidence import probabilities
from nemo_model.datasets.common import read_image, subset
from nemo_model.datasets.kitti import Kitti
from nemo_model.datasets.occluded import OccludedPascal3D, folder_name
from nemo_model.datasets.occluders import photo_paths
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.evaluation import metrics
from nemo_model.evaluation.calibrate import Trial, judge, quality, run_trials, trial
from nemo_model.evaluation.evaluate import Result, evaluate
from nemo_model.evaluation.report import figure, percent, table
from nemo_model.evaluation.samples import Sample, from_kitti, from_pascal3d
from nemo_model.evaluation.trials import Case, empty_cases, object_cases, split_photos

ROOT = Path(__file__).resolve().parent.parent
REPORT_PART = 1
"""The half of the photos without the category that nemo calibrate does not see."""
MARKS = ("<!-- figures: written by benchmarks/confidence.py -->", "<!-- end of figures -->")
EMPTY = 300
OTHER_BOXES = (("part", (1, 2, 3), 0.25), ("off", (0, 1, 2, 3), 0.15), ("cut", (0,), 0.2),
               ("small", (0, 1, 2), 0.15))  # fmt: skip
WARM_SHARE = 0.15
WARM_DEG = 8.0
"""Warm starts begin at the true pose turned by about so much about each axis."""


WRONG_LABELS = ROOT / "config" / "stanford_wrong_labels.csv"
"""Photos whose labelled rotation is off by more than about 30 degrees, as a look at every photo of
val and train-tune with its labelled box drawn over it found, without any estimate at hand."""


def wrong_labels(source: str, split: str) -> frozenset[str]:
    """Names of the photos of a split that are known to have a wrong label."""
    if source != "stanford":
        return frozenset()
    with WRONG_LABELS.open(newline="", encoding="utf-8") as file:
        return frozenset(row["name"] for row in csv.DictReader(file) if row["split"] == split)


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    if args.root is None:
        print("confidence: give --root, --occluded and --photos (see --help); nothing measured")
        return 0
    try:
        document = run(args)
    except NemoError as error:
        print(f"confidence: error: {error}", file=sys.stderr)
        return 2
    text = markdown(document)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "confidence.json").write_text(
        json.dumps(document, indent=1, allow_nan=False) + "\n"
    )
    (args.out / "confidence.md").write_text(text + "\n")
    draw(document["quality"], args.picture)
    if args.write_doc:
        write_doc(args.doc, text)
    if args.write_card:
        card = read_card(args.model)
        calibration = card.calibration
        assert calibration is not None
        judged = calibration.quality | {args.split: document["quality"]}
        calibration = calibration.model_copy(update={"quality": judged})
        write_card(args.model, card.model_copy(update={"calibration": calibration}))
    print(text)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "car")
    parser.add_argument("--root", type=Path, help="photos in the PASCAL3D+ layout")
    parser.add_argument("--source", default="stanford")
    parser.add_argument("--split", default="val")
    parser.add_argument("--occluded", type=Path, help="occluded copies, kept")
    parser.add_argument("--occluders", type=Path, nargs="+", help="photos for occluders")
    parser.add_argument("--photos", type=Path, help="photos without the category")
    parser.add_argument("--kitti", type=Path, help="street scenes in KITTI's object format")
    parser.add_argument("--limit", type=int, help="photos per level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "confidence.png")
    parser.add_argument("--write-card", action="store_true", help="also into the model's card")
    parser.add_argument("--doc", type=Path, default=ROOT / "docs" / "confidence.md")
    parser.add_argument("--write-doc", action="store_true", help="the tables into --doc")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Estimate everything once, and judge it by the card's calibration."""
    estimator = Estimator.load(args.model, threads=args.threads)
    calibration = estimator.bundle.card.calibration
    if calibration is None:
        raise NemoError(f"{args.model}: has no calibration to judge; run nemo calibrate")
    rng = np.random.default_rng(args.seed)
    levels = {level: _samples(args, estimator.category, level) for level in range(4)}
    trials: list[Trial] = []
    for name, cases in _cases(args, estimator.category, levels, rng):
        trials += run_trials(estimator, tqdm(cases, desc=name, unit="box", dynamic_ncols=True))
    warm = list(warm_trials(estimator, levels, args.seed))
    return document(args, estimator, calibration, trials, warm)


def document(
    args: argparse.Namespace,
    estimator: Estimator,
    calibration: Calibration,
    trials: Sequence[Trial],
    warm: Sequence[tuple[Trial, float]],
) -> dict[str, Any]:
    """All figures of trials and of warm starts (with the cold score of the same frame)."""
    scored = [(one, *judge(calibration, one)) for one in trials]
    objects = [one for one in trials if one.kind == "object"]
    even = [probabilities(calibration, one.statistics, even_views=True)[0] for one in objects]
    found: dict[str, Any] = {
        "model": {"name": estimator.bundle.card.name, "sha256": estimator.bundle.digest},
        "source": args.source, "split": args.split, "seed": args.seed, "limit": args.limit,
        "fitted_on": calibration.data,
        "quality": quality(scored),
        "even_views": metrics.score_figures(even, [one.error_deg for one in objects]),
        "limits": limits(
            objects,
            [row[1] for row in scored if row[0].kind == "object"],
            even,
            wrong_labels(args.source, args.split),
        ),
    }  # fmt: skip
    if warm:
        scores = [judge(calibration, one)[0] for one, _ in warm]
        differences = [abs(a - cold) for a, (_, cold) in zip(scores, warm, strict=True)]
        found["warm"] = metrics.score_figures(scores, [one.error_deg for one, _ in warm]) | {
            "start_deg": WARM_DEG,
            "median_difference_to_cold": metrics.median(differences),
            "mean_score": float(np.mean(scores)),
            "mean_cold_score": float(np.mean([cold for _, cold in warm])),
        }
    if args.kitti is not None:
        found["kitti"] = _kitti(args, estimator)
    return found


def limits(
    objects: Sequence[Trial], scores: Sequence[float], even: Sequence[float],
    wrong_labels: frozenset[str],
) -> dict[str, Any]:  # fmt: skip
    """What holds the AUROC down: labels that are wrong count as gross errors at all levels.

    wrong_at_L0: photos whose unoccluded version is judged wrong. labels: the figures without the
    photos whose label is wrong, even_labels: likewise of the scores for even views. perfect: the
    AUROC of a score that is 1 where the estimate is right and 0 where it is wrong, but for these
    photos, where it cannot know.
    """
    errors = np.array([one.error_deg for one in objects])
    wrong = errors >= metrics.PI_6
    known = np.array([one.group not in wrong_labels for one in objects])
    kept = np.flatnonzero(known)
    return {
        "wrong_at_L0": int(np.sum(wrong & np.array([one.level == 0 for one in objects]))),
        "wrong_labels": len(wrong_labels),
        "labels": metrics.score_figures([scores[k] for k in kept], errors[kept].tolist()),
        "even_labels": metrics.score_figures([even[k] for k in kept], errors[kept].tolist()),
        "perfect": metrics.number(metrics.auroc(np.where(wrong & known, 0.0, 1.0), ~wrong)),
        "gross": int(wrong.sum()),
        "gross_by_labels": int(np.sum(wrong & ~known)),
        "turned_round": metrics.number(metrics.flip_rate(errors[wrong])),
    }


def warm_trials(
    estimator: Estimator, levels: dict[int, list[Sample]], seed: int
) -> Iterator[tuple[Trial, float]]:
    """Warm starts from near the truth, each with the cold score of the same frame."""
    rng = np.random.default_rng(seed)
    chosen = [(s, k) for k, all_ in levels.items() for s in all_ if rng.random() < WARM_SHARE]
    for sample, level in tqdm(chosen, desc="warm", unit="box", dynamic_ncols=True):
        case = Case("object", level, sample.name, sample.read_image(), sample.K, sample.box,
                    sample.T_cam_obj)  # fmt: skip
        seen = estimator.observe(case.image, case.K, case.box)
        turn = Rotation.from_euler("xyz", rng.normal(0.0, WARM_DEG, 3), degrees=True)
        prior = sample.T_cam_obj.copy()
        prior[:3, :3] = turn.as_matrix() @ prior[:3, :3]
        prior[:3, 3] *= estimator.metres_per_unit
        estimate = estimator.solve(seen, prior=prior)
        yield trial(estimator, case, estimate), estimator.solve(seen).score


def _samples(args: argparse.Namespace, category: str, level: int) -> list[Sample]:
    if level == 0:
        photos = Pascal3D(args.root, category, args.source, args.split).objects
        return subset(from_pascal3d(photos), args.limit, args.seed)
    if not (args.occluded / "lists" / f"{folder_name(category, level)}.txt").is_file():
        words = ["--root", args.root, "--source", args.source, "--split", args.split,
                 "--category", category, "--occluders", *(args.occluders or []), "--level", level,
                 "--out", args.occluded, "--seed", args.seed]  # fmt: skip
        parser = argparse.ArgumentParser()
        occlude.add_arguments(parser)
        occlude.run(parser.parse_args([str(word) for word in words]))
    hidden = OccludedPascal3D(args.root, args.occluded, category, level, args.source, args.split)
    return subset(from_pascal3d(hidden.objects), args.limit, args.seed)


def _cases(
    args: argparse.Namespace,
    category: str,
    levels: dict[int, list[Sample]],
    rng: np.random.Generator,
) -> Iterator[tuple[str, Iterator[Case]]]:
    """The labelled boxes at every level; other boxes on some of them; nothing to be found."""
    for level, samples in levels.items():
        yield f"L{level}", object_cases(samples, level, 0.0, {}, rng)
    for kind, where, share in OTHER_BOXES:
        for level in where:
            yield (
                f"{kind} L{level}",
                object_cases(
                    levels[level], level, 0.04, {}, rng, share, kind, args.occluded, category
                ),
            )
    if args.photos is not None:
        photos = split_photos(photo_paths([args.photos]), category, REPORT_PART)
        for kind in ("background", "other"):
            yield kind, empty_cases(photos, read_image, kind, EMPTY, rng)


def _kitti(args: argparse.Namespace, estimator: Estimator) -> dict[str, Any]:
    """Real streets: the score for even views, rotations and metric positions in their ellipsoids.

    Cars at least 40 px high, uncut, not largely hidden; few, so that the figures are rough.
    """
    before, estimator.even_views = estimator.even_views, True
    try:
        results: list[Result] = [
            r
            for r in evaluate(estimator, from_kitti(Kitti(args.kitti).objects), "robot")
            if r.street is not None and r.street.height_px >= 40 and r.street.truncated == 0
            and r.street.occluded < 2
        ]  # fmt: skip
    finally:
        estimator.even_views = before
    right = [r for r in results if r.rotation_error_deg < metrics.PI_6]
    return metrics.score_figures(
        [r.score for r in results], [r.rotation_error_deg for r in results]
    ) | {
        "rotation": metrics.coverage([r.rotation_nees or math.nan for r in right]),
        "position": metrics.coverage([r.position_nees or math.nan for r in right]),
    }


def markdown(found: dict[str, Any]) -> str:
    """The tables of docs/confidence.md."""
    judged = found["quality"]
    parts: list[str]
    names = [name for name, row in judged.items() if "auroc" in row]
    rows = []
    for name in names:
        row = judged[name]
        inside = [percent(row["covariance"][f"inside_{share}"]) for share in (50, 90, 99)]
        rows.append([
            name, str(row["n"]), percent(row["right"]), figure(row["auroc"], 3),
            figure(row["ece"], 3), figure(row["nll"], 3), percent(row["within_10"]["right"]),
            figure(row["within_10"]["auroc"], 3), figure(row["within_10"]["ece"], 3),
            " / ".join(inside), figure(row["covariance"]["mean_nees"], 2),
        ])  # fmt: skip
    header = ["", "n", "< 30 deg %", "AUROC", "ECE", "NLL", "< 10 deg %", "AUROC", "ECE",
              "inside 50 / 90 / 99 %", "mean NEES"]  # fmt: skip
    curve = judged["objects"]["risk_coverage"]
    parts = [
        f"{found['model']['name']} ({found['model']['sha256'][:12]}), {found['source']} "
        f"{found['split']}, seed {found['seed']}; objects: L0 to L3 together with the labelled "
        "boxes; NEES of right estimates, 3 when the covariance is right:",
        table(header, rows),
        "Gross errors (30 degrees and more) among the best-scored:",
        table(
            ["kept %", *(percent(row["kept"]) for row in curve)],
            [["gross %", *(percent(row["gross"]) for row in curve)]],
        ),
    ]
    empty = [(name, row) for name, row in judged.items() if "median_score" in row]
    if empty:
        parts += ["Boxes without such an object:", table(
            ["", "n", "median score", "score above 0.5 %"],
            [[name, str(row["n"]), figure(row["median_score"], 3), percent(row["share_above_0.5"])]
             for name, row in empty],
        )]  # fmt: skip
    limit, even = found["limits"], found["even_views"]
    parts.append(
        f"Score for even views: AUROC {figure(even['auroc'], 3)}, ECE {figure(even['ece'], 3)}."
    )
    parts.append(
        f"Gross errors: {limit['gross']}, {percent(limit['turned_round'])} % of them turned round "
        f"by 150 degrees or more; {limit['gross_by_labels']} are {limit['wrong_labels']} photos "
        "with a wrong label, at up to four levels each. A score that knew everything but these "
        f"would have AUROC {figure(limit['perfect'], 3)}. Without these photos: AUROC "
        f"{figure(limit['labels']['auroc'], 3)}, ECE {figure(limit['labels']['ece'], 3)}; for even "
        f"views AUROC {figure(limit['even_labels']['auroc'], 3)}, ECE "
        f"{figure(limit['even_labels']['ece'], 3)}."
    )
    if "warm" in found:
        warm = found["warm"]
        parts.append(
            f"Warm starts {warm['start_deg']:g} degrees off per axis: n {warm['n']}, right "
            f"{percent(warm['right'])} %, mean score {figure(warm['mean_score'], 3)}, ECE "
            f"{figure(warm['ece'], 3)}; median difference to the cold score of the same frame "
            f"{figure(warm['median_difference_to_cold'], 3)}."
        )
    if "kitti" in found:
        street = found["kitti"]
        inside = {
            name: " / ".join(percent(street[name][f"inside_{share}"]) for share in (50, 90, 99))
            for name in ("rotation", "position")
        }
        parts.append(
            f"KITTI, cars from 40 px, uncut, at most partly hidden: n {street['n']}, right "
            f"{percent(street['right'])} %, AUROC {figure(street['auroc'], 3)}, ECE "
            f"{figure(street['ece'], 3)}; of the right ones inside 50 / 90 / 99 %: rotation "
            f"{inside['rotation']}, position {inside['position']}."
        )
    return "\n\n".join(parts)


def write_doc(path: Path, text: str) -> None:
    """Put the tables between the two marks of the document."""
    before, first, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not first or not second:
        raise NemoError(f"{path}: has no lines {MARKS[0]} and {MARKS[1]}")
    whole = f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"
    path.write_text(whole, encoding="utf-8")


def draw(judged: dict[str, Any], path: Path) -> None:
    """The reliability diagram and the risk-coverage curve, side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(8.0, 3.6), layout="constrained")
    FigureCanvasAgg(picture)
    left, right = picture.subplots(1, 2)
    bins = judged["objects"]["reliability"]
    total = sum(row["n"] for row in bins)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.plot([row["score"] for row in bins], [row["right"] for row in bins], color="tab:blue")
    left.scatter(
        [row["score"] for row in bins], [row["right"] for row in bins],
        s=[20 + 300 * row["n"] / total for row in bins], color="tab:blue", alpha=0.7,
    )  # fmt: skip
    left.set(xlabel="score", ylabel="share within 30 degrees", title="reliability",
             xlim=(0, 1), ylim=(0, 1.02))  # fmt: skip
    curve = judged["objects"]["risk_coverage"]
    right.plot([100 * r["kept"] for r in curve], [100 * r["gross"] for r in curve], marker="o")
    right.set(xlabel="kept, best scores first (%)", ylabel="gross errors (%)",
              title="risk against coverage", ylim=(0, None))  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
