# SPDX-License-Identifier: Apache-2.0
"""The paper's split into seen and unseen views: eight bins of azimuth, four of them trained on.

As in Wang et al., NeMo, ICLR 2021 (its code names the mask TFFTTFFT). Bin k holds azimuths from
45 k up to 45 (k + 1) degrees, so that the seen ones lie within 45 degrees of the front or of the
rear. The bins of the report's azimuth table are others: centred on 0, 45, ... degrees.
"""

from __future__ import annotations

import math

from nemo_model.datasets.common import DatasetError

VIEWS = ("all", "seen", "unseen")
SEEN = "TFFTTFFT"
"""T: the bin is trained on."""


def check_views(views: str) -> None:
    """Raise DatasetError where `views` is not one of VIEWS."""
    if views not in VIEWS:
        raise DatasetError(f"views '{views}' are not known; choose one of {', '.join(VIEWS)}")


def is_seen(azimuth: float) -> bool:
    """Whether an azimuth (radians, any turn) belongs to the views that are trained on."""
    turn = math.degrees(azimuth) % 360.0
    return SEEN[int(turn // (360.0 / len(SEEN))) % len(SEEN)] == "T"


def is_wanted(azimuth: float, views: str) -> bool:
    """Whether an azimuth (radians) belongs to `views`."""
    return views == "all" or is_seen(azimuth) == (views == "seen")
