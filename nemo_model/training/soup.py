# SPDX-License-Identifier: Apache-2.0
"""The mean of the weights of several trainings that went on from one another.

Such a mean is often better than its parts (Wortsman et al., Model soups, ICML 2022, section 2), as
long as the parts lie in one basin: trained on from the same weights, not from scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from nemo_model.bundle import CARD, Bundle
from nemo_model.errors import NemoError
from nemo_model.family import members
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.start import bundle_weights


def averaged(parts: Sequence[Path], shares: Sequence[float]) -> Checkpoint:
    """Return the weighted mean of checkpoints and bundles, ready to be exported.

    Of vertex and clutter features, whose length means nothing, the directions are averaged.
    Settings, meshes and steps are the last checkpoint's; nothing can be resumed from the mean.

    Args:
        parts: checkpoint.pt files of nemo train, or folders of bundles or families; at least one
            checkpoint.
        shares: their weights, positive, of any sum.

    Raises:
        BundleError: when a bundle is not intact.
        NemoError: when a part cannot be read, is of another category or network than the last
            checkpoint, or a share is not a positive number.
    """
    if len(shares) != len(parts) or not all(0.0 < share < float("inf") for share in shares):
        raise NemoError(f"shares: {len(parts)} positive numbers are needed, not {list(shares)}")
    files = {part: Checkpoint.load(part) for part in parts if not part.is_dir()}
    if not files:
        raise NemoError("at least one part must be a checkpoint.pt of nemo train")
    base = list(files.values())[-1]
    states = []
    for part in parts:
        if part in files:
            category, state = files[part].config.category, files[part].average
        else:
            category, state = _of_folder(part, base.config.category.split("+"))
        if category != base.config.category:
            raise NemoError(f"{part}: is of '{category}', not of '{base.config.category}'")
        _check(part, state, base)
        states.append(base.average | state)
    total = sum(shares)
    mean = {
        name: _mean(
            [_direction(name, state[name]) for state in states],
            [share / total for share in shares],
        )
        for name in base.average
    }
    return replace(base, average=mean, resume={"model": {}, "optimiser": {}})


def _of_folder(folder: Path, order: Sequence[str]) -> tuple[str, dict[str, Tensor]]:
    """What a bundle is of and its weights; of a family that of all categories, in this order.

    A bundle that has categories below it stands for itself.
    """
    if (folder / CARD).is_file():
        return Bundle.load(folder).card.category, bundle_weights(folder)
    bundles = {each.card.category: each for each in map(Bundle.load, members(folder))}
    names = list(order) if set(order) == set(bundles) else list(bundles)
    states = [bundle_weights(bundles[name].folder) for name in names]
    theta = torch.cat([state["bank.raw_theta"] for state in states])
    readers = {
        name: torch.cat([state[name] for state in states])
        for name in states[0]
        if name.startswith("readers.")
    }
    return "+".join(names), states[0] | {"bank.raw_theta": theta} | readers


def _direction(name: str, value: Tensor) -> Tensor:
    """Features (V, C) of the bank with length 1, as a bundle has them; others as they are."""
    return F.normalize(value, dim=1) if name.startswith("bank.") else value


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Of counters, which are whole numbers, the last one's."""
    if not values[-1].is_floating_point():
        return values[-1].clone()
    found = sum(share * value.double() for share, value in zip(shares, values, strict=True))
    assert isinstance(found, Tensor)
    return found.to(values[-1].dtype)


def _check(part: Path, state: dict[str, Tensor], base: Checkpoint) -> None:
    """Raise NemoError for weights that the base has and this part has not, or of other shape."""
    for name, value in base.average.items():
        if name not in state and value.is_floating_point():
            raise NemoError(f"{part}: has no weights {name}; it is of another network")
        if name in state and state[name].shape != value.shape:
            raise NemoError(
                f"{part}: {name} is {tuple(state[name].shape)}, not {tuple(value.shape)}; only "
                "trainings of the same network and mesh have a mean"
            )
