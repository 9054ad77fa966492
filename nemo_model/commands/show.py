# SPDX-License-Identifier: Apache-2.0
"""Show what a model finds on photos: contact sheets and one web page, with the poses drawn.

    nemo show --model models/car --photos DIR --out found
    nemo show --model models/household --photos DIR --boxes boxes.csv --out found

No pose needs to be known. boxes.csv has the columns file, category, x1, y1, x2, y2; without it
every photo is one object, which fills it. A photo does not tell its camera, so that a field of view
is assumed (--view): distances are worth little then, rotations suffer little.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import cv2
from tqdm import tqdm

from nemo_model.datasets.common import DatasetError, read_image
from nemo_model.datasets.occluders import photo_paths
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimator
from nemo_model.family import load_family
from nemo_model.gallery import (
    LONGEST,
    Shown,
    Wanted,
    assumed_K,
    cell,
    contact_sheets,
    read_list,
    webpage,
)
from nemo_model.recogniser import Recogniser

AUTO = "auto"
VIEW_DEG = 50.0
"""Horizontal angle of a 39 mm lens on 35 mm film: between a phone's main camera and a tele lens."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="bundle or family")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--boxes", type=Path, metavar="FILE.csv",
                        help="columns file, category, x1, y1, x2, y2; only its photos")  # fmt: skip
    parser.add_argument("--category", metavar="NAME",
                        help="of what has none in --boxes; auto: the likeliest of the family "
                        "(default: auto, or the only one)")  # fmt: skip
    parser.add_argument("--view", type=float, default=VIEW_DEG,
                        help="assumed angle that a photo's longer side spans, degrees")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for sheets and page")
    parser.add_argument("--limit", type=int, help="only the first so many")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> int:
    cv2.setNumThreads(args.threads)
    if args.limit is not None and args.limit < 1:
        raise NemoError(f"--limit {args.limit}: must be at least 1")
    assumed_K(1, 1, args.view)
    wanted = (
        [Wanted(path) for path in photo_paths([args.photos])] if args.boxes is None
        else read_list(args.boxes, args.photos)
    )  # fmt: skip
    finder = _Finder(load_family(args.model, threads=args.threads), args.category, args.view)
    known = [each for each in wanted if finder.knows(each)]
    unknown = Counter(each.category for each in wanted if not finder.knows(each))
    if not known:
        raise NemoError(f"nothing to show: the model has {', '.join(finder.estimators)}, wanted "
                        f"are {', '.join(unknown) or 'none'}")  # fmt: skip
    chosen = known[: args.limit]
    shown = [finder.find(each) for each in tqdm(chosen, unit="photo", dynamic_ncols=True)]
    write(args, shown, finder.told())
    for category, count in sorted(unknown.items()):
        print(f"left out: {count} of category {category}, which the model has not")
    failed = sum(one.estimate is None for one in shown)
    print(f"{len(shown)} objects, {failed} without an estimate: {args.out / 'index.html'}")
    return 0


class _Finder:
    """Estimates with the estimator of a category, or the likeliest one."""

    def __init__(self, found: list[Estimator], category: str | None, view_deg: float) -> None:
        self.estimators = {each.category: each for each in found}
        several = len(self.estimators) > 1
        self.category = category or (AUTO if several else next(iter(self.estimators)))
        self.view_deg = view_deg
        if self.category not in (AUTO, *self.estimators):
            raise NemoError(
                f"--category {self.category}: the model has {', '.join(self.estimators)}"
            )
        self.recogniser = Recogniser(self.estimators) if self.category == AUTO else None

    def told(self) -> list[str]:
        names = [f"{each.bundle.card.name} ({each.bundle.digest[:12]})"
                 for each in self.estimators.values()]  # fmt: skip
        return [
            f"Models: {', '.join(names)}. Assumed field of view: {self.view_deg:g} degrees along "
            "the longer side.",
            "Green: cells that show the object; orange: cells where it is hidden; blue, crossed: "
            "its front; white: the box given. Azimuth 0 sees the front, 90 its left.",
        ]

    def knows(self, wanted: Wanted) -> bool:
        return wanted.category in ("", AUTO, *self.estimators)

    def find(self, wanted: Wanted) -> Shown:
        """Raises DatasetError naming a photo that cannot be read."""
        image = read_image(wanted.path)
        height, width = image.shape[:2]
        if max(height, width) > LONGEST:
            scale = LONGEST / max(height, width)
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            if wanted.box is not None:
                wanted = Wanted(wanted.path, wanted.category, wanted.box * scale)
            height, width = image.shape[:2]
        K = assumed_K(width, height, self.view_deg)
        box = [0.0, 0.0, width - 1.0, height - 1.0] if wanted.box is None else wanted.box
        category = wanted.category or self.category
        try:
            if category == AUTO and self.recogniser is not None:
                estimate, shares = self.recogniser.estimate(image, K, box)
                return Shown(wanted, image, estimate, probabilities=shares)
            return Shown(wanted, image, self.estimators[category].estimate(image, K, box))
        except NemoError as error:
            return Shown(wanted, image, failure=str(error))


def write(args: argparse.Namespace, shown: list[Shown], told: list[str]) -> None:
    """sheet_0.png, sheet_1.png, ... and index.html."""
    args.out.mkdir(parents=True, exist_ok=True)
    for number, sheet in enumerate(contact_sheets([cell(one) for one in shown])):
        path = args.out / f"sheet_{number}.png"
        if not cv2.imwrite(str(path), sheet[:, :, ::-1]):
            raise DatasetError(f"{path}: cannot be written")
    title = f"{args.model.name} on {args.photos.name}"
    (args.out / "index.html").write_text(webpage(title, told, shown), encoding="utf-8")
