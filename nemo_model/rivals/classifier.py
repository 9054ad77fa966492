# SPDX-License-Identifier: Apache-2.0
"""Pose by classification: three distributions over the viewpoint's angles from one crop.

Res50-General and Res50-Specific of the paper, with NeMo's trunk. The coarse maps are flattened,
not averaged, so that the head knows where in the crop it sees what.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.angles import ANGLES, SIGMA
from nemo_model.pose import angles_from_rotation, rotation_from_angles
from nemo_model.rivals.types import Found, Looked
from nemo_model.training.backbone import Trunk
from nemo_model.training.samples import Picture

Array = npt.NDArray[np.float64]

COARSE, MIDDLE, HIDDEN = 128, 64, 512
"""Channels taken from the maps at strides 32 and 16, and units of the hidden layer."""
RIGHT_DEG, PRECISE_DEG = 15.0, 5.0
"""The scores are the probabilities within these of the mode, for each of the three angles."""


class Classifier(nn.Module):
    """Image (B, 3, H, W) in [0, 255] to logits, one (B, bins) per angle."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.coarse = nn.Conv2d(320, COARSE, 1)
        self.middle = nn.Conv2d(112, MIDDLE, 3, stride=2, padding=1)
        cells = (height // 32) * (width // 32)
        self.hidden = nn.Linear(cells * (COARSE + MIDDLE), HIDDEN)
        self.out = nn.Linear(HIDDEN, sum(bins.count for bins in ANGLES))

    def forward(self, image: Tensor) -> list[Tensor]:
        _, middle, coarse = self.trunk((image - 127.5) / 127.5)
        x = torch.cat([F.relu(self.coarse(coarse)), F.relu(self.middle(middle))], dim=1)
        x = self.out(F.relu(self.hidden(x.flatten(1))))
        return list(x.split([bins.count for bins in ANGLES], dim=1))

    def loss(
        self, logits: list[Tensor], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy with soft labels, summed over the angles; share of modes near the truth."""
        total, right = logits[0].new_zeros(()), torch.ones_like(logits[0][:, 0], dtype=torch.bool)
        for k, (found, bins) in enumerate(zip(logits, ANGLES, strict=True)):
            label = batch[f"angle{k}"]
            total = total + F.cross_entropy(found, label)
            off = (found.argmax(1) - label.argmax(1)).abs()
            off = torch.minimum(off, bins.count - off) if bins.circular else off
            right &= off <= 2
        return total, {"right": right.float().mean().detach()}

    @torch.no_grad()
    def look(self, looked: Looked) -> Found:
        """The rotation in the crop's camera and how likely it is to be near the truth."""
        logits = self(looked.tensor)
        shares = [F.softmax(each[0].double(), dim=0).numpy() for each in logits]
        angles = [bins.angle(p) for bins, p in zip(ANGLES, shares, strict=True)]
        right, precise = (
            float(np.prod([b.mass(p, reach) for b, p in zip(ANGLES, shares, strict=True)]))
            for reach in np.deg2rad([RIGHT_DEG, PRECISE_DEG])
        )
        return Found(rotation_from_angles(*angles), None, right, precise)


def angle_labels(picture: Picture) -> dict[str, npt.NDArray[np.float32]]:
    """Soft labels of the object's rotation relative to the crop's camera."""
    angles = angles_from_rotation(picture.T[:3, :3])
    return {
        f"angle{k}": bins.label(angle, SIGMA)
        for k, (bins, angle) in enumerate(zip(ANGLES, angles, strict=True))
    }
