# SPDX-License-Identifier: Apache-2.0
"""What training minimises: vertex features against each other, clutter, and whole poses.

Vertex term: cross entropy of vertex k's image feature f over the bank theta and the clutter bank
beta, logits f.theta_j / T (Bai et al., CoKe, ICLR 2023; Wang et al., NeMo, ICLR 2021, section
3.3), vertices near k left out. Pose term: the true pose's energy (NeMo's objective, sum of
relu(s - b) over covered cells) against those of wrong poses, which is what decides at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.mesh import Mesh
from nemo_model.training.config import TrainConfig


@dataclass(frozen=True)
class Batch:
    """Stacked samples (see samples.Sample), B of each."""

    image: Tensor  # (B, H, W, 3) uint8
    vertex: Tensor  # (B, N)
    uv: Tensor  # (B, N, 2)
    clutter: Tensor  # (B, h, w)
    corner: Tensor  # (B, P, h, w, 3)
    weight: Tensor  # (B, P, h, w, 3)


@dataclass(frozen=True)
class Losses:
    """The terms, before weighting; pose_right is the share of poses ranked first."""

    vertex: Tensor
    clutter: Tensor
    pose: Tensor
    vertex_right: Tensor
    pose_right: Tensor


class Bank(nn.Module):
    """Vertex features theta (V, C) and clutter prototypes beta (M, C), unit when read."""

    def __init__(self, vertices: int, prototypes: int, features: int) -> None:
        super().__init__()
        self.raw_theta = nn.Parameter(torch.randn(vertices, features) / features**0.5)
        self.raw_beta = nn.Parameter(torch.randn(prototypes, features) / features**0.5)

    @property
    def theta(self) -> Tensor:
        return F.normalize(self.raw_theta, dim=1)

    @property
    def beta(self) -> Tensor:
        return F.normalize(self.raw_beta, dim=1)


class Objective(nn.Module):
    """The training loss of one category's neural mesh."""

    near: Tensor
    twin: Tensor

    def __init__(self, mesh: Mesh, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        points = torch.tensor(mesh.vertices, dtype=torch.float32)
        near = torch.cdist(points, points) < config.near
        near.fill_diagonal_(False)
        opposite = points * torch.tensor([-1.0, -1.0, 1.0])
        twin = (torch.cdist(points, opposite) < 2 * config.near) & ~near
        self.register_buffer("near", near)
        self.register_buffer("twin", twin.float() * config.twin_margin)

    def forward(self, features: Tensor, bank: Bank, batch: Batch) -> Losses:
        """features (B, C, h, w) unit; see Losses."""
        theta, beta = bank.theta, bank.beta
        vertex, vertex_right = self._vertex(features, theta, beta, batch)
        pose, pose_right = self._pose(features, theta, beta, batch)
        clutter = self._clutter(features, theta, beta, batch.clutter)
        return Losses(vertex, clutter, pose, vertex_right, pose_right)

    def total(self, losses: Losses) -> Tensor:
        config = self.config
        return (
            losses.vertex
            + config.clutter_weight * losses.clutter
            + config.pose_weight * losses.pose
        )

    def _vertex(
        self, features: Tensor, theta: Tensor, beta: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        h, w = features.shape[2:]
        scale = torch.tensor([2.0 / (w - 1), 2.0 / (h - 1)], device=features.device)
        grid = (batch.uv * scale - 1.0)[:, None]
        f = F.grid_sample(features, grid, align_corners=True, padding_mode="border")
        f = f[:, :, 0].transpose(1, 2)  # (B, N, C)
        shown = batch.vertex >= 0
        if not shown.any():
            return features.sum() * 0.0, features.new_zeros(())
        f, k = F.normalize(f[shown], dim=1), batch.vertex[shown]
        logits = (f @ theta.T + self.twin[k]) / self.config.temperature
        logits = logits.masked_fill(self.near[k], -1e4)
        logits = torch.cat([logits, f @ beta.T / self.config.temperature], dim=1)
        right = (logits.argmax(1) == k).float().mean()
        if not self.config.contrast:
            return (1.0 - (f * theta[k]).sum(dim=1)).mean(), right.detach()
        return F.cross_entropy(logits, k), right.detach()

    def _clutter(self, features: Tensor, theta: Tensor, beta: Tensor, clutter: Tensor) -> Tensor:
        """Cells off the object prefer some prototype over every vertex.

        Without contrast they are drawn to the nearest prototype; without prototypes there is no
        such term.
        """
        if not len(beta):
            return features.sum() * 0.0
        order = torch.rand(clutter.shape, device=clutter.device).masked_fill(~clutter, -1.0)
        order = order.flatten(1)
        chosen = order.topk(min(self.config.clutter_cells, order.shape[1]), dim=1)
        picked = chosen.values >= 0  # (B, count)
        if not picked.any():
            return features.sum() * 0.0
        f = features.flatten(2).transpose(1, 2)
        f = f.gather(1, chosen.indices[..., None].expand(-1, -1, f.shape[2]))[picked]
        if not self.config.contrast:
            return (1.0 - (f @ beta.T).amax(dim=1)).mean()
        to_clutter = torch.logsumexp(f @ beta.T / self.config.temperature, dim=1)
        to_object = torch.logsumexp(f @ theta.T / self.config.temperature, dim=1)
        return F.softplus(to_object - to_clutter).mean()

    def _pose(
        self, features: Tensor, theta: Tensor, beta: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Energy of the true pose against those of wrong ones, per covered cell."""
        B, P, h, w, _ = batch.corner.shape
        f = features.flatten(2).transpose(1, 2)  # (B, hw, C)
        similarity = f @ theta.T  # (B, hw, V)
        # (B, hw); no clutter model explains nothing
        background = (f @ beta.T).amax(dim=2) if len(beta) else f.new_zeros(f.shape[:2])
        corner = batch.corner.view(B, P, h * w, 3).permute(0, 2, 1, 3).reshape(B, h * w, P * 3)
        weight = batch.weight.view(B, P, h * w, 3).permute(0, 2, 1, 3)
        s = (similarity.gather(2, corner).view(B, h * w, P, 3) * weight).sum(dim=3)
        covered = weight.sum(dim=3) > 0
        explained = F.relu(s - background[:, :, None]) * covered
        cells = covered[:, :, :1].sum(dim=1).clamp(min=1)
        logits = self.config.pose_sharpness * explained.sum(dim=1) / cells  # (B, P)
        truth = torch.zeros(B, dtype=torch.long, device=logits.device)
        right = (logits.argmax(1) == 0).float().mean()
        return F.cross_entropy(logits, truth), right.detach()
