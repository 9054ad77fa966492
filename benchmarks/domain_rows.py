# SPDX-License-Identifier: Apache-2.0
"""The trainings that benchmarks/domain_gap.py compares: one small function each, to a checkpoint.

A checkpoint lies in WORK/ROW-STEPS-SEED and is not made again; one that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_model.datasets.common import subset
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError

if TYPE_CHECKING:
    from torch import Tensor

    from nemo_model.meshes.meshset import MeshSet
    from nemo_model.training.config import TrainConfig

CATEGORY = "car"
STYLE = 0.7
"""Share of the samples that take another photo's style."""
PICTURES = 192
"""Of each domain, for the statistics of channels."""


@dataclass(frozen=True)
class Plan:
    """What all rows share.

    real, synth, plain: data sets with cars, source stanford the first, synth the others.
    settings: of TrainConfig, KEY=JSON. few: labelled photos; few_steps: of tuning on them.
    """

    real: Path
    synth: Path
    backgrounds: Path
    work: Path
    settings: tuple[str, ...]
    plain: Path | None = None
    steps: int = 300
    batch: int = 32
    seed: int = 0
    few: int = 50
    few_steps: int = 100
    split: str = "train-fit"
    workers: int = 1
    threads: int = 1

    def folder(self, row: str) -> Path:
        return self.work / f"{row}-{self.steps}-{self.seed}"


def real(plan: Plan) -> Path:
    return _train(plan, "real", plan.real, _config(plan, "stanford"))


def rendered(plan: Plan) -> Path:
    return _train(plan, "rendered", plan.synth, _config(plan, "synth"))


def plain(plan: Plan) -> Path:
    if plan.plain is None:
        raise NemoError("row plain: give --plain, a set of `nemo synth render --recoloured 0` "
                        "without --backgrounds")  # fmt: skip
    return _train(plan, "plain", plan.plain, _config(plan, "synth"))


def style(plan: Plan) -> Path:
    return _train(plan, "style", plan.synth, _config(plan, "synth", f"augment.style={STYLE}"))


def adabn(plan: Plan) -> Path:
    return _adapted(plan, "adabn", rendered(plan))


def style_adabn(plan: Plan) -> Path:
    return _adapted(plan, "style-adabn", style(plan))


def few(plan: Plan) -> Path:
    """Rendered cars, then a few labelled photos."""
    from nemo_model.training.checkpoint import Checkpoint

    before = Checkpoint.load(rendered(plan))
    config = _config(plan, "stanford", steps=plan.few_steps, left_out=_all_but_few(plan))
    name = f"few{plan.few}x{plan.few_steps}"
    return _train(plan, name, plan.real, config, before.meshes, before.average)


def few_only(plan: Plan) -> Path:
    """The same few photos alone: what the renderings add to them."""
    config = _config(plan, "stanford", left_out=_all_but_few(plan))
    return _train(plan, f"few-only{plan.few}", plan.real, config)


def mixed(plan: Plan) -> Path:
    """Half of the samples real, half rendered, over the mesh of the real set."""
    config = _config(plan, "stanford", also_source="synth", also_share=0.5)
    return _train(plan, "mixed", plan.real, config, also=plan.synth)


ROWS: dict[str, tuple[str, Callable[[Plan], Path]]] = {
    "real": ("real photos, all labels", real),
    "rendered": ("rendered", rendered),
    "plain": ("rendered, models' own colours, no photos behind", plain),
    "style": ("rendered, styles of other photos", style),
    "adabn": ("rendered, then statistics of unlabelled real photos", adabn),
    "style-adabn": ("both", style_adabn),
    "few": ("rendered, then a few labelled real photos", few),
    "few-only": ("the few labelled real photos alone", few_only),
    "mixed": ("rendered and real, half each, all labels", mixed),
}


def _config(
    plan: Plan, source: str, *settings: str, steps: int | None = None, **fields: Any
) -> TrainConfig:
    from nemo_model.training.config import make_config

    steps = plan.steps if steps is None else steps
    values = {
        "category": CATEGORY, "source": source, "split": plan.split, "seed": plan.seed,
        "steps": steps, "batch": plan.batch, "warmup": min(200, max(steps // 10, 1)),
    }  # fmt: skip
    return make_config(values | fields, (*plan.settings, *settings))


def _all_but_few(plan: Plan) -> tuple[str, ...]:
    """Names of the photos that are not among the few."""
    names = list(
        dict.fromkeys(o.name for o in Pascal3D(plan.real, CATEGORY, "stanford", plan.split))
    )
    kept = set(subset(names, plan.few, plan.seed))
    return tuple(name for name in names if name not in kept)


def _finished(plan: Plan, row: str, config: TrainConfig) -> Path | None:
    """The checkpoint of a run that is done. Raises NemoError for one of other settings."""
    from nemo_model.training.checkpoint import Checkpoint

    path = plan.folder(row) / "checkpoint.pt"
    if not path.is_file():
        return None
    found = Checkpoint.load(path)
    if found.config != config:
        raise NemoError(f"{path}: was trained with other settings; move it away")
    return path if found.step == config.steps else None


def _train(
    plan: Plan, row: str, root: Path, config: TrainConfig, meshes: MeshSet | None = None,
    initial: dict[str, Tensor] | None = None, also: Path | None = None,
) -> Path:  # fmt: skip
    from nemo_model.training.train import train

    return _finished(plan, row, config) or train(
        root, plan.backgrounds, plan.folder(row), config, workers=plan.workers,
        threads=plan.threads, save_every=100, resume=True, meshes=meshes, initial=initial,
        also=also,
    )  # fmt: skip


def _adapted(plan: Plan, row: str, trained: Path) -> Path:
    """A checkpoint with the channels' statistics of real photos; their poses are not looked at."""
    from nemo_model.training.adapt import adapt
    from nemo_model.training.checkpoint import Checkpoint
    from nemo_model.training.export import trained as loaded

    path = plan.folder(row) / "checkpoint.pt"
    before = Checkpoint.load(trained)
    done = _finished(plan, row, before.config)
    if done is not None:
        return done
    model = loaded(before)
    source = pictures(plan, plan.synth, "synth")
    adapt(model.backbone, source, pictures(plan, plan.real, "stanford"))
    path.parent.mkdir(parents=True, exist_ok=True)
    Checkpoint(before.config, before.meshes, before.step, model.state_dict(), {}).save(path)
    return path


def pictures(plan: Plan, root: Path, source: str, count: int = PICTURES) -> Tensor:
    """Crops (B, 3, H, W) in [0, 255] around the boxes of a set, photos and boxes drawn evenly.

    Without what the poses are used for in training: cut out silhouettes, occluders, neighbours,
    boxes of the visible part and the balance of views.
    """
    import torch

    from nemo_model.training.loader import sample_maker

    config = _config(plan, source)
    unlabelled = {"silhouette": 0.0, "occluded": 0.0, "neighbour": 0.0, "visible_box": 0.0}
    augment = config.augment.model_copy(update=unlabelled)
    config = config.model_copy(update={"balance": 0.0, "augment": augment})
    maker, _ = sample_maker(root, plan.backgrounds, config)
    images = [maker.picture(np.random.default_rng([plan.seed, k])).image for k in range(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
