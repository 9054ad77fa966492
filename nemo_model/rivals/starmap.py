# SPDX-License-Identifier: Apache-2.0
"""StarMap: all keypoints of all categories in one heat map, each with its canonical coordinates.

Zhou, Karpur, Luo, Huang: StarMap for Category-Agnostic Keypoint and Viewpoint Estimation, ECCV
2018, here with NeMo's trunk and pyramid, a penalty-reduced focal loss for the heat map (Law and
Deng, CornerNet, ECCV 2018, eq. 1) and, since the camera is known, reprojection in place of the
depth map.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.rivals.fit import Keypoints, fit_pose
from nemo_model.rivals.keypoints import CORE, FIRST, STRIDE
from nemo_model.rivals.types import Found, Looked
from nemo_model.training.backbone import FINEST_CHANNELS, PYRAMID, Backbone, Trunk, separable

Array = npt.NDArray[np.float64]

MOST_PEAKS = 40
LOWEST = 0.1
"""Heat below which a local maximum is no keypoint."""
CANONICAL_WEIGHT = 20.0
FAINT = 0.1
"""Share of the finest map at first: it is not normalised, and would drown what lies below."""
RARE = -2.2
"""Initial logit of the heat map: one cell in ten."""


class StarMap(nn.Module):
    """Image (B, 3, H, W) in [0, 255] to (B, 4, H/4, W/4): a heat logit and x, y, z per cell."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.backbone = Backbone(1)
        self.backbone.out = nn.Identity()  # type: ignore[assignment]
        self.lateral = nn.Conv2d(FINEST_CHANNELS, PYRAMID, 1)
        self.fine = separable(PYRAMID)
        self.out = nn.Conv2d(PYRAMID, 4, 1)
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias[0] = RARE
            self.lateral.weight.mul_(FAINT)

    @property
    def trunk(self) -> Trunk:
        return self.backbone.trunk

    def forward(self, image: Tensor) -> Tensor:
        finest, *maps = self.trunk.maps((image - 127.5) / 127.5)
        x = self.backbone.merge(*maps)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.out(self.fine(x + self.lateral(finest)))

    def loss(self, maps: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Focal loss of the heat map per keypoint, plus L1 of the coordinates near keypoints."""
        logit, found = maps[:, 0], maps[:, 1:]
        peaks, heat = batch["peaks"], batch["heat"]
        count = peaks.sum().clamp(min=1.0)
        p = torch.sigmoid(logit)
        right = peaks * (1 - p) ** 2 * F.logsigmoid(logit)
        wrong = (1 - peaks) * (1 - heat) ** 4 * p**2 * F.logsigmoid(-logit)
        star = -(right + wrong).sum() / count
        near = heat * (heat > CORE)
        off = (found - batch["canonical"]).abs().sum(dim=1)
        canonical = (near * off).sum() / near.sum().clamp(min=1.0)
        numbers = {"heat": star.detach(), "canonical": canonical.detach()}
        return star + CANONICAL_WEIGHT * canonical, numbers

    @torch.no_grad()
    def look(self, looked: Looked) -> Found:
        """The pose that fits the keypoints in the crop best."""
        maps = self(looked.tensor)[0]
        seen = read_keypoints(torch.sigmoid(maps[0]), maps[1:])
        return fit_pose(seen, looked.K, looked.box, looked.reliable, looked.outline, looked.given_t)


def read_keypoints(heat: Tensor, canonical: Tensor) -> Keypoints:
    """Local maxima of a heat map (h, w), finer than a cell, with their coordinates (3, h, w)."""
    best = F.max_pool2d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    score = torch.where(heat == best, heat, torch.zeros_like(heat)).flatten()
    order = score.topk(min(MOST_PEAKS, len(score)))
    chosen = order.indices[order.values > LOWEST]
    w = heat.shape[1]
    rows, cols = chosen // w, chosen % w
    padded = F.pad(torch.cat([heat[None], canonical])[None], (1, 1, 1, 1), mode="replicate")[0]
    inside = F.pad(torch.ones_like(heat), (1, 1, 1, 1))
    uv, points = [], []
    for i, j in zip(rows.tolist(), cols.tolist(), strict=True):
        patch = padded[:, i : i + 3, j : j + 3].double().numpy()
        weight = patch[0] * inside[i : i + 3, j : j + 3].numpy()
        log = np.log(np.maximum(patch[0], 1e-6))
        x, y = j + _vertex(log[1]), i + _vertex(log[:, 1])
        uv.append((STRIDE * x + FIRST, STRIDE * y + FIRST))
        points.append((patch[1:] * weight).sum(axis=(1, 2)) / weight.sum())
    return Keypoints(
        np.array(points).reshape(-1, 3),
        np.array(uv).reshape(-1, 2),
        heat.flatten()[chosen].double().numpy(),
    )


def _vertex(log: Array) -> float:
    """Where the parabola through three values at -1, 0, 1 is highest, within half a cell."""
    curve = log[0] - 2.0 * log[1] + log[2]
    if curve > -1e-6:
        return 0.0
    return float(np.clip(0.5 * (log[0] - log[2]) / curve, -0.5, 0.5))
