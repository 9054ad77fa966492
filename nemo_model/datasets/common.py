# SPDX-License-Identifier: Apache-2.0
"""What every dataset loader needs: its error, image reading, the hold-out part of train."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from nemo_model.errors import NemoError

TUNE_SHARE = 0.08
T = TypeVar("T")


class DatasetError(NemoError):
    """A dataset on disk is not what its layout says; the message names the file."""


def read_image(path: Path) -> np.ndarray:
    """Read an image as RGB uint8 (H, W, 3); grey and alpha images are converted.

    Raises DatasetError naming the file where it is missing or cannot be decoded.
    """
    try:
        raw = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"{path}: cannot read the image ({error.strerror})") from error
    # annotations count pixels as stored: the EXIF orientation must not turn the image
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(raw, flags) if raw.size else None
    if image is None:
        raise DatasetError(f"{path}: not a readable image (empty, truncated or unknown format)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_lines(path: Path) -> list[str]:
    """Non-empty, stripped lines of a list file. Raises DatasetError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot read the list of images ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def tune_groups(groups: Iterable[str], share: float = TUNE_SHARE) -> frozenset[str]:
    """Choose the groups (car classes, or image names) held out of training for tuning.

    The `share` of the distinct groups whose SHA-256 comes first: independent of the order of
    the list, of the platform and of any seed. At least one where there are two groups.
    """
    ranked = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest())
    count = round(share * len(ranked))
    return frozenset(ranked[: max(count, 1) if len(ranked) > 1 else 0])


def subset(items: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """`limit` items drawn by the seed, in their order; all where limit is None or large enough.

    Raises DatasetError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"--limit {limit}: must be at least 1")
    if limit is None or limit >= len(items):
        return list(items)
    chosen = np.random.default_rng(seed).choice(len(items), size=limit, replace=False)
    return [items[index] for index in sorted(chosen)]
