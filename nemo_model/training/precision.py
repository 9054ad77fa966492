# SPDX-License-Identifier: Apache-2.0
"""In which numbers the backbone computes while it is trained. Weights and losses stay float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Precision:
    """float32, or mixed precision by autocast; float16's gradients are scaled.

    "auto": on CUDA bfloat16, or float16 where the GPU has none; float32 on CPUs.
    """

    def __init__(self, wanted: str, device: torch.device) -> None:
        if wanted == "auto":
            wanted = "float32"
            if device.type == "cuda":
                wanted = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        self.name, self.device = wanted, device
        self.mixed = wanted != "float32"
        self.scaler = torch.amp.GradScaler(device.type, enabled=wanted == "float16")

    def autocast(self) -> torch.autocast:
        """Where the backbone runs."""
        dtype = getattr(torch, self.name) if self.mixed else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.mixed)

    def descend(
        self, loss: Tensor, model: nn.Module, optimiser: torch.optim.Optimizer, most: float
    ) -> None:
        """One step of the optimiser, with gradients clipped at the norm `most`."""
        optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(model.parameters(), most)
        self.scaler.step(optimiser)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """Of the scaler; empty where nothing is scaled."""
        return dict(self.scaler.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        if state and self.scaler.is_enabled():
            self.scaler.load_state_dict(state)
