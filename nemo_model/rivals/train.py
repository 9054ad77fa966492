# SPDX-License-Identifier: Apache-2.0
"""The rivals' training loop: NeMo's pictures, rates and average of weights, another loss."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from nemo_model.errors import NemoError
from nemo_model.rivals.classifier import Classifier
from nemo_model.rivals.model import make_network
from nemo_model.rivals.starmap import StarMap
from nemo_model.training.backbone import load_imagenet
from nemo_model.training.clock import Clock
from nemo_model.training.config import TrainConfig
from nemo_model.training.loader import quiet_worker
from nemo_model.training.samples import Picture, SampleMaker
from nemo_model.training.train import LOG_EVERY, learning_rate

CHECKPOINT = "checkpoint.pt"
SAVE_EVERY = 50
"""Steps between checkpoints."""
STARMAP_RATE = 2.0
"""Times the other systems' learning rates: its maps learn from a few cells of each picture, and at
the common rates it is the furthest from converged."""
Targets = Callable[[Picture], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Source:
    """One category's pictures and what the network is to say about them."""

    maker: SampleMaker
    targets: Targets


class _Pictures(Dataset[dict[str, np.ndarray]]):
    """Sample i is of category i modulo their number: each is seen as often as the others.

    With one category the pictures are those that NeMo sees with the same seed.
    """

    def __init__(self, sources: Sequence[Source], seed: int, start: int, end: int) -> None:
        self.sources, self.seed, self.start, self.end = sources, seed, start, end

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number = self.start + index
        source = self.sources[number % len(self.sources)]
        maker = source.maker.eased(number)
        picture = maker.picture(np.random.default_rng([self.seed, number]))
        return {"image": picture.image, **source.targets(picture)}


def _stack(samples: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    return {k: torch.from_numpy(np.stack([s[k] for s in samples])) for k in samples[0]}


def _batches(
    sources: Sequence[Source], config: TrainConfig, start: int, workers: int
) -> Iterator[dict[str, Tensor]]:
    yield from DataLoader(
        _Pictures(sources, config.seed, start * config.batch, config.steps * config.batch),
        batch_size=config.batch,
        num_workers=workers,
        collate_fn=_stack,
        worker_init_fn=quiet_worker,
        prefetch_factor=3 if workers else None,
    )


def train_rival(
    system: str,
    sources: Sequence[Source],
    out: Path,
    config: TrainConfig,
    *,
    workers: int = 1,
    threads: int = 1,
) -> dict[str, Tensor]:
    """Train, or go on from out/checkpoint.pt, and return the averaged weights.

    Raises:
        NemoError: when the checkpoint there is of another run.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    network = make_network(system, config)
    load_imagenet(network.trunk)
    for parameter in network.trunk.frozen_part(config.frozen_blocks):
        parameter.requires_grad_(False)
    network = network.to(device)
    optimiser = _optimiser(network, config)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    start = _restore(out / CHECKPOINT, system, config, network, optimiser, average)
    clock = Clock(out, start)
    bar = tqdm(total=config.steps, initial=start, desc=system, unit="step")
    for step, batch in enumerate(_batches(sources, config, start, workers), start=start):
        began = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * learning_rate(step, config)
        torch.manual_seed((config.seed << 32) + step)
        numbers = _step(network, optimiser, {k: v.to(device) for k, v in batch.items()})
        decay = min(config.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1.0 - decay)
        if step % LOG_EVERY == 0:
            row = {"step": step, "seconds": time.perf_counter() - began} | numbers
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            bar.set_postfix_str(" ".join(f"{k} {v:.2f}" for k, v in numbers.items()))
        bar.update()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == config.steps:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            _save(out / CHECKPOINT, system, config, step + 1, average, state)
            clock.write(step + 1, config.batch)
    bar.close()
    return {name: value.cpu() for name, value in average.items()}


def _optimiser(network: Classifier | StarMap, config: TrainConfig) -> torch.optim.Optimizer:
    faster = STARMAP_RATE if isinstance(network, StarMap) else 1.0
    trunk = [p for p in network.trunk.parameters() if p.requires_grad]
    known = {id(p) for p in network.trunk.parameters()}
    head = [p for p in network.parameters() if id(p) not in known]
    groups = [
        {"params": trunk, "base": faster * config.trunk_rate},
        {"params": head, "base": faster * config.head_rate},
    ]
    return torch.optim.AdamW(groups, lr=1.0, weight_decay=config.weight_decay)


def _step(
    network: Classifier | StarMap, optimiser: torch.optim.Optimizer, batch: Mapping[str, Tensor]
) -> dict[str, float]:
    image = batch["image"].permute(0, 3, 1, 2).float()
    output: Any = network(image.contiguous(memory_format=torch.channels_last))
    loss, numbers = network.loss(output, batch)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    found = {"loss": loss.detach()} | numbers
    return {name: round(float(value), 4) for name, value in found.items()}


def _save(
    path: Path,
    system: str,
    config: TrainConfig,
    step: int,
    average: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> None:
    raw = {"system": system, "config": config.model_dump_json(), "step": step}
    partial = path.with_suffix(".partial")
    torch.save(raw | {"average": dict(average)} | dict(state), partial)
    partial.replace(path)


def _restore(
    path: Path,
    system: str,
    config: TrainConfig,
    network: Classifier | StarMap,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    """Load a checkpoint of the same run into all three; return the steps done, 0 without one."""
    if not path.is_file():
        return 0
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
        saved, step = TrainConfig.model_validate_json(raw["config"]), int(raw["step"])
    except Exception as error:  # torch.load raises many kinds on damaged files
        raise NemoError(f"{path}: is not a checkpoint of nemo train ({error})") from error
    if raw["system"] != system:
        raise NemoError(f"{path}: is of the system '{raw['system']}', not of '{system}'")
    changed = [
        name
        for name in TrainConfig.model_fields
        if name not in ("steps", "warmup") and getattr(saved, name) != getattr(config, name)
    ]
    if changed:
        raise NemoError(f"{path}: was trained with another {changed[0]}; choose another folder")
    if step > config.steps:
        raise NemoError(f"{path}: has gone {step} steps, more than the {config.steps} asked")
    network.load_state_dict(raw["network"])
    optimiser.load_state_dict(raw["optimiser"])
    for name, value in raw["average"].items():
        average[name].copy_(value)
    return step
