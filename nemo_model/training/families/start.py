# SPDX-License-Identifier: Apache-2.0
"""What a family starts from: the backbone of a bundle, and features seen in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nemo_model.bundle import Bundle
from nemo_model.family import members
from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.backbone import Backbone, load_imagenet
from nemo_model.training.config import TrainConfig
from nemo_model.training.families.maker import FamilyMaker, parted
from nemo_model.training.loader import collate
from nemo_model.training.loss import smooth_features, turns
from nemo_model.training.network import NeuralMesh, sizes
from nemo_model.training.start import bundle_weights, carried, reader_state
from nemo_model.viewpoint import Reader

LOOKS = 128
"""Samples of a category that its vertices' first features are the mean of."""
_AT_ONCE = 8


def family_weights(
    folder: Path | None, maker: FamilyMaker, config: TrainConfig, symmetries: Sequence[int]
) -> dict[str, Tensor]:
    """Weights of a NeuralMesh for all categories, from ImageNet's, a bundle or a family.

    The backbone and the clutter prototypes are the bundle's, or those of the family's first one. A
    category that is there takes its features by place; another one starts smooth, with waves of its
    own, so that the categories are told apart from the beginning.

    Args:
        folder: None for ImageNet's weights.
        symmetries: of the categories, as in the card.

    Raises:
        BundleError: when a bundle is not intact.
        NemoError: when its backbone is none of ours.
    """
    torch.manual_seed(config.seed)
    known: dict[str, Bundle] = {}
    if folder is None:
        model = NeuralMesh(*sizes(maker.meshes, config))
        load_imagenet(model.backbone.trunk)
        state = {name: value.clone() for name, value in model.state_dict().items()}
    else:
        known = {bundle.card.category: bundle for bundle in map(Bundle.load, members(folder))}
        state = bundle_weights(next(iter(known.values())).folder)
        state = {k: v for k, v in state.items() if not k.startswith("readers.")}
    theta = []
    for meshes, symmetry in zip(parted(maker.meshes), symmetries, strict=True):
        points = torch.from_numpy(meshes.joined()[0].vertices).float()
        smooth = alike_features(points, config.features, symmetry)
        bundle = known.get(meshes.category)
        if bundle is not None:
            rows = [carried(each, bundle.meshes) for each in meshes.meshes]
            smooth = torch.from_numpy(np.concatenate(rows).astype(np.float32))
        theta.append(smooth)
    state["bank.raw_theta"] = torch.cat(theta)
    names = maker.meshes.category.split("+")
    return state | readers_of([known.get(name) for name in names], list(known.values()))


def readers_of(
    bundles: Sequence[Bundle | None], others: Sequence[Bundle] = ()
) -> dict[str, Tensor]:
    """The readers of all categories; where a bundle has none, one that says nothing.

    Empty where no bundle, of `others` neither, has one: the run then makes its own.
    """
    known = next(
        (one.reader for one in (*bundles, *others) if one is not None and one.reader), None
    )
    if known is None:
        return {}
    readers = [
        one.reader if one is not None and one.reader is not None else silent(known)
        for one in bundles
    ]
    return reader_state(readers)


def silent(like: Reader) -> Reader:
    """A reader that calls all views as likely, of another one's size; it was shown none."""
    never = np.zeros_like(like.shown)
    return Reader(np.zeros_like(like.weight), np.zeros_like(like.bias), never)


def added_weights(folder: Path, maker: FamilyMaker, config: TrainConfig) -> dict[str, Tensor]:
    """Weights of a NeuralMesh for the categories of a family and a new one, the last.

    The backbone stays as it is, so each vertex of the new one starts with the mean of what the
    backbone sees there in LOOKS samples. Raises as family_weights.
    """
    bundles = [Bundle.load(one) for one in members(folder)]
    state = bundle_weights(bundles[0].folder)
    backbone = backbone_of(state, bundles[0].card.features)
    theta = [torch.from_numpy(each.features) for one in bundles for each in one.meshes]
    new = parted(maker.meshes)[-1]
    theta.append(seen_features(backbone, maker, len(bundles), new, config))
    state["bank.raw_theta"] = torch.cat(theta)
    return state | readers_of([*bundles, None])


def alike_features(points: Tensor, channels: int, symmetry: int) -> Tensor:
    """Smooth random features (V, C) of unit length, the same where a symmetry makes alike."""
    if symmetry == 0:
        around = torch.stack([points[:, :2].norm(dim=1), points[:, 2]], dim=1)
        return F.normalize(smooth_features(around, channels), dim=1)
    turned = torch.cat([points @ turn.T for turn in turns(symmetry)])
    features = smooth_features(turned, channels).view(symmetry, len(points), channels)
    return F.normalize(features.mean(dim=0), dim=1)


def backbone_of(state: dict[str, Tensor], features: int) -> Backbone:
    """A backbone with the weights of bundle_weights."""
    start = "backbone."
    bias = state.get("backbone.context.hidden.bias")
    backbone = Backbone(features, 0 if bias is None else len(bias))
    backbone.load_state_dict(
        {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
    )
    return backbone.eval()


@torch.no_grad()
def seen_features(
    backbone: Backbone, maker: FamilyMaker, place: int, meshes: MeshSet, config: TrainConfig
) -> Tensor:
    """Mean feature (V, C) that a backbone sees at each vertex of a category, of unit length.

    A vertex that none of the samples shows takes that of the nearest one that some do.
    """
    points = np.concatenate([each.mesh.vertices for each in meshes.meshes])
    start = int(maker.rows[place])
    total = torch.zeros(len(points), config.features)
    for first in range(0, LOOKS, _AT_ONCE):
        samples = [maker.of(place, index) for index in range(first, first + _AT_ONCE)]
        batch = collate(samples)
        features = backbone(batch.image.permute(0, 3, 1, 2).float())
        h, w = features.shape[2:]
        grid = batch.uv * torch.tensor([2.0 / (w - 1), 2.0 / (h - 1)]) - 1.0
        seen = F.grid_sample(features, grid[:, None], align_corners=True, padding_mode="border")
        shown = batch.vertex >= 0
        total.index_add_(0, batch.vertex[shown] - start, seen[:, :, 0].transpose(1, 2)[shown])
    length = total.norm(dim=1)
    known = np.flatnonzero(length.numpy() > 1e-6)
    if not len(known):
        return F.normalize(torch.ones_like(total), dim=1)
    away = np.linalg.norm(points[:, None] - points[known][None], axis=2)
    return F.normalize(total, dim=1)[known[away.argmin(axis=1)]]
