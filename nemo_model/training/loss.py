# SPDX-License-Identifier: Apache-2.0
"""What training minimises: vertex features against each other, clutter, and whole poses.

Vertex term: cross entropy of vertex k's image feature f over the bank theta and the clutter bank
beta, logits f.theta_j / T (Bai et al., CoKe, ICLR 2023; Wang et al., NeMo, ICLR 2021, section
3.3), vertices near k left out. Pose term: the true pose's energy (NeMo's objective, sum of
relu(s - b) over covered cells; leaky here) against those of wrong poses, which is what decides at
run time.

Several meshes share one bank, a block of rows each. A vertex competes with its own mesh's others
and the clutter, not with other sub-types': their corresponding vertices are the same part of
another car, which looks alike, so telling them apart would take features from telling poses apart.
Cells of the clutter term are held off every mesh, since at run time each is tried on every image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nemo_model.mesh import Mesh
from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.config import TrainConfig
from nemo_model.training.ranks import Ranks
from nemo_model.training.viewpoint import viewpoint_loss

LEAK = 0.2
"""Slope below zero of the pose term's relu: random features explain nothing better than the clutter
does, and a relu would then pass no gradient until the vertex term has changed that."""
BANDWIDTH = 0.2
"""Distance (object units) over which the initial vertex features change."""


@dataclass(frozen=True)
class Batch:
    """Stacked samples (see samples.Sample), B of each.

    part is None where there is one mesh, angles where no viewpoint prior is learned.
    """

    image: Tensor  # (B, H, W, 3) uint8
    vertex: Tensor  # (B, N)
    uv: Tensor  # (B, N, 2)
    clutter: Tensor  # (B, h, w)
    corner: Tensor  # (B, P, h, w, 3)
    weight: Tensor  # (B, P, h, w, 3)
    part: Tensor | None = None  # (B,)
    angles: Tensor | None = None  # (B, 3)


@dataclass(frozen=True)
class Losses:
    """The terms, before weighting; pose_right is the share of poses ranked first, viewpoint_right
    that of samples whose likeliest angles are near."""

    vertex: Tensor
    clutter: Tensor
    pose: Tensor
    viewpoint: Tensor
    vertex_right: Tensor
    pose_right: Tensor
    viewpoint_right: Tensor


def total(losses: Losses, config: TrainConfig) -> Tensor:
    """The weighted sum that is minimised."""
    return (
        losses.vertex
        + config.clutter_weight * losses.clutter
        + config.pose_weight * losses.pose
        + config.viewpoint_weight * losses.viewpoint
    )


class Bank(nn.Module):
    """Vertex features theta (V, C) and clutter prototypes beta (M, C), unit when read."""

    def __init__(self, vertices: int, prototypes: int, features: int) -> None:
        super().__init__()
        self.raw_theta = nn.Parameter(torch.randn(vertices, features) / features**0.5)
        self.raw_beta = nn.Parameter(torch.randn(prototypes, features) / features**0.5)

    @torch.no_grad()
    def start(self, theta: Tensor) -> None:
        """Set the vertex features (V, C)."""
        self.raw_theta.copy_(theta)

    @property
    def theta(self) -> Tensor:
        return F.normalize(self.raw_theta, dim=1)

    @property
    def beta(self) -> Tensor:
        return F.normalize(self.raw_beta, dim=1)


def smooth_features(points: Tensor, channels: int) -> Tensor:
    """Random features (V, channels), about unit, that are alike where points (V, 3) are near.

    Random Fourier features of a Gaussian kernel (Rahimi and Recht, NIPS 2007, algorithm 1).
    Features drawn for each vertex by itself make neighbours contradict each other at first.
    """
    waves = torch.randn(points.shape[1], channels) / BANDWIDTH
    phase = 2.0 * math.pi * torch.rand(channels)
    return torch.cos(points @ waves + phase) * (2.0 / channels) ** 0.5


def turns(symmetry: int) -> list[Tensor]:
    """The turns (3, 3) about z by multiples of 360 / n degrees, the first being none."""
    found = []
    for k in range(symmetry):
        c, s = math.cos(2.0 * math.pi * k / symmetry), math.sin(2.0 * math.pi * k / symmetry)
        found.append(torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]))
    return found


def apart(points: Tensor, symmetry: int) -> Tensor:
    """Distances (V, V) of points (V, 3), the least over turns about z that look alike (see Card).

    For any turn they are those of height and distance from the axis.
    """
    if symmetry == 0:
        around = torch.stack([points[:, :2].norm(dim=1), points[:, 2]], dim=1)
        return torch.cdist(around, around)
    distances = [torch.cdist(points, points @ turn.T) for turn in turns(symmetry)]
    return torch.stack(distances).amin(dim=0)


class Rivalry(nn.Module):
    """Which vertices of one mesh compete, and how hard. Those that look alike do not."""

    near: Tensor  # (V, V) bool, do not compete
    twin: Tensor  # (V, V) cosine added

    def __init__(self, mesh: Mesh, config: TrainConfig) -> None:
        super().__init__()
        points = torch.tensor(mesh.vertices, dtype=torch.float32)
        near = apart(points, config.symmetry) < config.near
        near.fill_diagonal_(False)
        opposite = points * torch.tensor([-1.0, -1.0, 1.0])
        twin = (torch.cdist(points, opposite) < 2 * config.near) & ~near
        self.register_buffer("near", near)
        self.register_buffer("twin", twin.float() * config.twin_margin)


class Objective(nn.Module):
    """The training loss of one category's neural mesh, or of several that share a bank.

    Attributes:
        category: place of the category of every mesh; 0 where there is one.
        symmetries: (categories,) turns that leave each one's objects as they are, see Card.
    """

    symmetries: Tensor

    def __init__(self, mesh: Mesh | MeshSet, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        meshes = [mesh] if isinstance(mesh, Mesh) else [each.mesh for each in mesh.meshes]
        self.rivalry = nn.ModuleList(Rivalry(each, config) for each in meshes)
        ends = torch.tensor([0] + [len(each.vertices) for each in meshes]).cumsum(0).tolist()
        self.blocks = [slice(start, end) for start, end in pairwise(ends)]
        self.category = [0] * len(meshes)
        self.register_buffer("symmetries", torch.tensor([config.symmetry]))

    def _rivalry(self, part: int) -> Rivalry:
        found = self.rivalry[part]
        assert isinstance(found, Rivalry)
        return found

    def _parts(self, batch: Batch) -> Iterator[tuple[int, slice, Tensor | slice]]:
        """Every mesh that the batch shows: its number, its rows of the bank, its samples."""
        if len(self.blocks) == 1:
            yield 0, self.blocks[0], slice(None)
            return
        assert batch.part is not None
        for part, block in enumerate(self.blocks):
            samples = torch.nonzero(batch.part == part)[:, 0]
            if len(samples):
                yield part, block, samples

    def categories(self, batch: Batch) -> Tensor:
        """Place of the category (B,) of every sample."""
        if batch.part is None:
            return torch.zeros(len(batch.image), dtype=torch.long, device=batch.image.device)
        return torch.tensor(self.category, device=batch.part.device)[batch.part]

    def forward(
        self,
        features: Tensor,
        bank: Bank,
        batch: Batch,
        ranks: Ranks | None = None,
        logits: Tensor | None = None,
    ) -> Losses:
        """The terms of a batch.

        Args:
            features: (B, C, h, w) unit.
            ranks: whose part of a larger batch it is.
            logits: (B, BINS) of the viewpoint, where a prior is learned.
        """
        viewpoint, viewpoint_right = self._viewpoint(logits, batch)
        if self.config.learned == "viewpoint":
            nil = features.new_zeros(())
            return Losses(nil, nil, nil, viewpoint, nil, nil, viewpoint_right)
        theta, beta = bank.theta, bank.beta
        vertex, vertex_right = self._vertex(features, theta, beta, batch)
        pose, pose_right = self._pose(features, theta, beta, batch)
        cells = batch.clutter
        order = (ranks or Ranks(device=cells.device)).draw(
            len(cells), self.config.batch, *cells.shape[1:]
        )
        clutter = self._clutter(features, theta, beta, cells, order)
        return Losses(vertex, clutter, pose, viewpoint, vertex_right, pose_right, viewpoint_right)

    def _viewpoint(self, logits: Tensor | None, batch: Batch) -> tuple[Tensor, Tensor]:
        if logits is None or batch.angles is None:
            nil = batch.uv.new_zeros(())
            return nil, nil
        symmetry = self.symmetries[self.categories(batch)]
        return viewpoint_loss(logits.float(), batch.angles, symmetry)

    def total(self, losses: Losses) -> Tensor:
        return total(losses, self.config)

    def counts(self, batch: Batch) -> Tensor:
        """Over how many vertices, clutter cells and samples (3,) the terms are means."""
        vertices = (batch.vertex >= 0).sum()
        cells = batch.clutter.flatten(1).sum(dim=1).clamp(max=self.config.clutter_cells).sum()
        return torch.stack([vertices, cells, torch.full_like(cells, len(batch.vertex))])

    def _vertex(
        self, features: Tensor, theta: Tensor, beta: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        h, w = features.shape[2:]
        scale = torch.tensor([2.0 / (w - 1), 2.0 / (h - 1)], device=features.device)
        grid = (batch.uv * scale - 1.0)[:, None]
        f = F.grid_sample(features, grid, align_corners=True, padding_mode="border")
        f = f[:, :, 0].transpose(1, 2)  # (B, N, C)
        count = (batch.vertex >= 0).sum()
        loss, right = features.sum() * 0.0, features.new_zeros(())
        for part, block, samples in self._parts(batch):
            vertex, near = batch.vertex[samples], self._rivalry(part)
            shown = vertex >= 0
            if not shown.any():
                continue
            mine, k = F.normalize(f[samples][shown], dim=1), vertex[shown] - block.start
            logits = (mine @ theta[block].T + near.twin[k]) / self.config.temperature
            logits = logits.masked_fill(near.near[k], -1e4)
            elsewhere = self._elsewhere(theta, beta, part)
            logits = torch.cat([logits, mine @ elsewhere.T / self.config.temperature], dim=1)
            share = len(k) / count
            right = right + (logits.argmax(1) == k).float().mean() * share
            if self.config.contrast:
                loss = loss + F.cross_entropy(logits, k) * share
            else:
                loss = loss + (1.0 - (mine * theta[block][k]).sum(dim=1)).mean() * share
        return loss, right.detach()

    def _elsewhere(self, theta: Tensor, beta: Tensor, part: int) -> Tensor:
        """Features (N, C) that a vertex competes with beside those of its own mesh."""
        return beta

    def _clutter(
        self, features: Tensor, theta: Tensor, beta: Tensor, clutter: Tensor, order: Tensor
    ) -> Tensor:
        """Cells off the object prefer some prototype over every vertex; mean over the meshes.

        Without contrast they are drawn to the nearest prototype; without prototypes there is no
        such term.
        """
        if not len(beta):
            return features.sum() * 0.0
        order = order.masked_fill(~clutter, -1.0).flatten(1)
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
        to_object = to_object - math.log(len(self.blocks))
        return F.softplus(to_object - to_clutter).mean()

    def _pose(
        self, features: Tensor, theta: Tensor, beta: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Energy of the true pose against those of wrong ones, per covered cell."""
        f = features.flatten(2).transpose(1, 2)  # (B, hw, C)
        # (B, hw); no clutter model explains nothing
        background = (f @ beta.T).amax(dim=2) if len(beta) else f.new_zeros(f.shape[:2])
        rows = []
        for _, block, samples in self._parts(batch):
            corner, weight = batch.corner[samples], batch.weight[samples]
            B, P, h, w, _ = corner.shape
            similarity = f[samples] @ theta[block].T  # (B, hw, V)
            corner = corner.view(B, P, h * w, 3).permute(0, 2, 1, 3).reshape(B, h * w, P * 3)
            weight = weight.view(B, P, h * w, 3).permute(0, 2, 1, 3)
            at = corner - block.start
            s = (similarity.gather(2, at).view(B, h * w, P, 3) * weight).sum(dim=3)
            covered = weight.sum(dim=3) > 0
            gain = s - background[samples][:, :, None]
            explained = F.leaky_relu(gain, LEAK) * covered
            cells = covered[:, :, :1].sum(dim=1).clamp(min=1)
            rows.append(self.config.pose_sharpness * explained.sum(dim=1) / cells)  # (B, P)
        logits = torch.cat(rows)  # by mesh, not in the batch's order; only their mean is taken
        truth = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        right = (logits.argmax(1) == 0).float().mean()
        return F.cross_entropy(logits, truth), right.detach()
