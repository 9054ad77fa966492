# SPDX-License-Identifier: Apache-2.0
"""The paper's own figures, on PASCAL3D+ and its occluded copy: shown beside, never among, ours.

From Wang, Kortylewski, Yuille: NeMo: Neural Mesh Models of Contrastive Features for Robust 3D Pose
Estimation, ICLR 2021. Percent of rotation errors below pi/6 and pi/18, twelve categories weighted
by their images.
"""

from __future__ import annotations

Table = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]

SOURCE = (
    "Wang, Kortylewski, Yuille, NeMo, ICLR 2021; PASCAL3D+ and Occluded PASCAL3D+, 12 categories, "
    "its own training. Not comparable with the figures above: other photos, other occluders, "
    "another backbone."
)

_LEVELS = ("", "L0", "L1", "L2", "L3")
_BASELINES = (
    ("Res50-General", "85.9 / 38.6", "66.5 / 26.5", "50.8 / 18.8", "38.0 / 12.2"),
    ("Res50-Specific", "86.5 / 39.7", "71.4 / 29.9", "56.4 / 21.5", "41.3 / 13.8"),
    ("StarMap", "89.4 / 59.5", "71.1 / 34.4", "47.2 / 13.9", "22.9 / 3.8"),
)
_NEMO = (
    ("NeMo (CAD)", "84.1 / 60.1", "73.1 / 45.1", "59.9 / 30.2", "41.3 / 14.5"),
    ("NeMo-MultiCuboid", "86.7 / 63.2", "77.3 / 49.9", "65.2 / 34.5", "47.1 / 17.8"),
    ("NeMo-SingleCuboid", "85.0 / 57.7", "75.8 / 43.7", "63.5 / 30.4", "45.8 / 15.1"),
)

TABLES: dict[str, Table] = {
    "occlusion": (_LEVELS, (*_BASELINES, *_NEMO)),
    "mesh": (_LEVELS, _NEMO),
    "unseen": (
        ("", "unseen views"),
        (
            ("Res50-General", "37.2 / 5.3"),
            ("Res50-Specific", "34.7 / 4.0"),
            ("StarMap", "49.8 / 13.5"),
            ("NeMo-MultiCuboid", "54.7 / 31.0"),
            ("NeMo-SingleCuboid", "54.3 / 27.9"),
        ),
    ),
}
