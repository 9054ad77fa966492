# SPDX-License-Identifier: Apache-2.0
"""The training loop: one category's backbone and neural mesh, resumable at every checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from nemo_model.errors import NemoError
from nemo_model.meshes.meshset import MeshSet
from nemo_model.training.backbone import load_imagenet
from nemo_model.training.checkpoint import Checkpoint
from nemo_model.training.clock import Clock
from nemo_model.training.config import TrainConfig
from nemo_model.training.loader import Maker, batches
from nemo_model.training.loss import Batch, Losses, Objective, smooth_features, total
from nemo_model.training.mixed import maker_of
from nemo_model.training.network import (
    PRIOR,
    NeuralMesh,
    keep_all_but,
    keep_all_but_prior,
    prior_of,
    sizes,
)
from nemo_model.training.precision import Precision
from nemo_model.training.ranks import Ranks, joined

LOG_EVERY = 20


class Learner(nn.Module):
    """From a batch to its losses: what several processes share the work of."""

    def __init__(
        self, model: NeuralMesh, objective: Objective, precision: Precision, ranks: Ranks
    ) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.precision, self.ranks = precision, ranks

    def forward(self, batch: Batch) -> Losses:
        image = batch.image.permute(0, 3, 1, 2).float()
        image = image.contiguous(memory_format=torch.channels_last)
        logits = None
        with self.precision.autocast():
            features, context = self.model.backbone.with_context(image)
            if self.model.readers is not None:
                category = self.objective.categories(batch)
                logits = self.model.readers(context, category)
                if batch.angles is not None:
                    symmetry = self.objective.symmetries[category]
                    self.model.readers.note(category, batch.angles, symmetry, self.ranks)
        if self.precision.mixed:
            features = F.normalize(features.float(), dim=1)
        losses: Losses = self.objective(features, self.model.bank, batch, self.ranks, logits)
        if self.ranks.count == 1:
            return losses
        vertex, clutter, sample = self.ranks.weights(self.objective.counts(batch))
        return Losses(
            losses.vertex * vertex,
            losses.clutter * clutter,
            losses.pose * sample,
            losses.viewpoint * sample,
            losses.vertex_right * vertex,
            losses.pose_right * sample,
            losses.viewpoint_right * sample,
        )


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate's factor: linear warm-up, constant, linear decay over the last share.

    The constant part makes a run's length a late decision: resume with other steps.
    """
    falling = max(int(config.decay * config.steps), 1)
    return min(1.0, (step + 1) / max(config.warmup, 1), (config.steps - step) / falling)


def train(
    root: Path,
    backgrounds: Path,
    out: Path,
    config: TrainConfig,
    *,
    workers: int = 1,
    threads: int = 1,
    save_every: int = 250,
    resume: bool = False,
    initial: Mapping[str, Tensor] | None = None,
    meshes: MeshSet | None = None,
    also: Path | None = None,
) -> Path:
    """Train and return the path of the last checkpoint, out/checkpoint.pt.

    Args:
        also: a second data set, of which config.also_share of the samples are.
        meshes: one per sub-type (see nemo make-mesh); by default one cuboid for the category.
        initial: weights of a NeuralMesh to start from; ImageNet's and random ones when None.

    Raises:
        NemoError: when data are missing, or a checkpoint or weights to start from do not fit.
    """
    torch.set_num_threads(threads)
    path = out / "checkpoint.pt"
    _check_category(meshes, config)
    with joined() as ranks:
        check_share(config, ranks)
        maker = maker_of(root, also, backgrounds, config, meshes, quiet=not ranks.first)
        saved = None
        if resume and ranks.first and path.exists():
            saved = Checkpoint.load(path)
        subject = Subject(maker)
        learn(subject, config, ranks, out, workers, save_every, ranks.told(saved), initial)
    return path


@dataclass(frozen=True)
class Subject:
    """What a run learns.

    Attributes:
        maker: of its samples.
        objective: its loss, of the meshes that the samples show.
        family: see Checkpoint.
        learned: rows of the bank, where these alone are learned and all else is kept.
    """

    maker: Maker
    objective: Callable[[MeshSet, TrainConfig], Objective] = Objective
    family: str = ""
    learned: slice | None = None


def learn(
    subject: Subject,
    config: TrainConfig,
    ranks: Ranks,
    out: Path,
    workers: int,
    save_every: int,
    saved: Checkpoint | None,
    initial: Mapping[str, Tensor] | None,
) -> None:
    maker, meshes, device = subject.maker, subject.maker.meshes, ranks.device
    torch.manual_seed(config.seed)
    model, optimiser, average, start = _prepare(meshes, config, device, initial)
    if subject.learned is not None:
        keep_all_but(model, subject.learned)
    elif config.learned == "viewpoint":
        if initial is None and saved is None:
            raise NemoError('learned="viewpoint": needs trained weights to start from (--from)')
        keep_all_but_prior(model)
    precision = Precision(config.precision, device)
    if saved is not None:
        start = _restore(saved, config, meshes, model, optimiser, average)
        precision.restore(saved.resume.get("scaler", {}))
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(config.model_dump_json(indent=2) + "\n")
    objective = subject.objective(meshes, config)
    learner = ranks.shared(Learner(model, objective, precision, ranks).to(device))
    clock = Clock(out, start) if ranks.first else None
    bar = tqdm(
        total=config.steps, initial=start, desc="train", unit="step", disable=not ranks.first
    )
    for step, batch in enumerate(batches(maker, config, start, workers, ranks), start=start):
        began = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * learning_rate(step, config)
        torch.manual_seed((config.seed << 32) + step)  # a resumed run draws what this one would
        losses = _step(learner, model, optimiser, precision, _to(batch, device), config)
        _average(average, model, min(config.average, (step + 1) / (step + 10)))
        numbers = _numbers(losses, ranks) if step % LOG_EVERY == 0 else None
        if numbers is not None and ranks.first:
            row = {"step": step, "seconds": time.perf_counter() - began} | numbers
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            told = ("pose", "vertex", "viewpoint")
            bar.set_postfix_str(" ".join(f"{name} {row[name + '_right']:.2f}" for name in told))
        bar.update()
        if ranks.first and ((step + 1) % save_every == 0 or step + 1 == config.steps):
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            if precision.state():
                state["scaler"] = precision.state()
            found = Checkpoint(config, meshes, step + 1, average, state, subject.family)
            found.save(out / "checkpoint.pt")
            if clock is not None:
                clock.write(step + 1, config.batch)
    bar.close()


def check_share(config: TrainConfig, ranks: Ranks) -> None:
    if config.batch < ranks.count:
        raise NemoError(f"batch: {config.batch} samples are too few for {ranks.count} processes")


def _check_category(meshes: MeshSet | None, config: TrainConfig) -> None:
    if meshes is not None and meshes.category != config.category:
        raise NemoError(f"meshes: of '{meshes.category}', but '{config.category}' is trained")


def _prepare(
    meshes: MeshSet, config: TrainConfig, device: torch.device, initial: Mapping[str, Tensor] | None
) -> tuple[NeuralMesh, torch.optim.Optimizer, dict[str, Tensor], int]:
    model = NeuralMesh(*sizes(meshes, config))
    if initial is None:
        load_imagenet(model.backbone.trunk)
        points = torch.from_numpy(meshes.joined()[0].vertices).float()
        model.bank.start(smooth_features(points, config.features))
    else:
        try:
            model.load_state_dict(prior_of(model) | _fitting(initial, config))
        except RuntimeError as error:
            raise NemoError(f"weights to start from: do not fit this run ({error})") from error
    for parameter in model.backbone.trunk.frozen_part(config.frozen_blocks):
        parameter.requires_grad_(False)
    model = model.to(device)
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trunk = [p for p in model.backbone.trunk.parameters() if p.requires_grad]
    known = {id(p) for p in model.backbone.trunk.parameters()}
    head = [p for p in model.backbone.parameters() if id(p) not in known]
    if model.readers is not None:
        head.extend(model.readers.parameters())
    groups = [
        {"params": trunk, "base": config.trunk_rate},
        {"params": head, "base": config.head_rate},
        {"params": list(model.bank.parameters()), "base": config.bank_rate, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1.0, weight_decay=config.weight_decay)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return model, optimiser, average, 0


def _fitting(initial: Mapping[str, Tensor], config: TrainConfig) -> dict[str, Tensor]:
    """The weights to start from, less those of a prior where none is learned."""
    return {k: v for k, v in initial.items() if config.context or not k.startswith(PRIOR)}


def _restore(
    saved: Checkpoint,
    config: TrainConfig,
    meshes: MeshSet,
    model: NeuralMesh,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    same = ("category", "width", "height", "features", "context", "prototypes", "batch", "seed")
    for name in (*same, "frozen_blocks"):
        if getattr(saved.config, name) != getattr(config, name):
            raise NemoError(
                f"checkpoint: {name} was {getattr(saved.config, name)}, now "
                f"{getattr(config, name)}; a resumed run cannot change it"
            )
    before, now = (
        [(each.subtype, len(each.mesh.vertices)) for each in one.meshes]
        for one in (saved.meshes, meshes)
    )
    if [number for number, _ in before] != [number for number, _ in now]:
        raise NemoError("checkpoint: its meshes stand for other sub-types than those of this run")
    if before != now:
        raise NemoError("checkpoint: its mesh has another number of vertices than this run's")
    if saved.step > config.steps:
        raise NemoError(
            f"checkpoint: has gone {saved.step} steps, more than the {config.steps} asked"
        )
    model.load_state_dict(saved.resume["model"])
    optimiser.load_state_dict(saved.resume["optimiser"])
    for name, value in saved.average.items():
        average[name].copy_(value)  # onto the device of the run
    return saved.step


def _step(
    learner: nn.Module,
    model: NeuralMesh,
    optimiser: torch.optim.Optimizer,
    precision: Precision,
    batch: Batch,
    config: TrainConfig,
) -> Losses:
    losses: Losses = learner(batch)
    precision.descend(total(losses, config), model, optimiser, 5.0)
    return losses


@torch.no_grad()
def _average(average: dict[str, Tensor], model: NeuralMesh, decay: float) -> None:
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1.0 - decay)


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(**{name: value.to(device) for name, value in vars(batch).items()})


def _numbers(losses: Losses, ranks: Ranks) -> dict[str, float]:
    values = ranks.mean(torch.stack([value.detach() for value in vars(losses).values()]))
    return {name: round(float(v), 4) for name, v in zip(vars(losses), values, strict=True)}
