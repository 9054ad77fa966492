# SPDX-License-Identifier: Apache-2.0
"""What every dataset loader needs: its error, image reading, the hold-out part of train."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from nemo_model.errors import NemoError

TUNE_SHARE = 0.08


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
    image = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
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
