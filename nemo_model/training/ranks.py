# SPDX-License-Identifier: Apache-2.0
"""One training on several processes, as torchrun starts them: who this one is and what is its own.

Each takes every count-th sample of a step's batch and the gradients are averaged. So that the sum
is that of one process with the whole batch, terms that are means over what the samples show are
weighted by how much of it each process has (see Ranks.weights), and what is drawn at random is
drawn for the whole batch.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nemo_model.errors import NemoError

# Imported before a process group is made: its functions have the group of that moment as a default
# and would keep it, and so gloo's threads, alive after joined(). Such a thread now and then aborts
# the process as Python ends ("terminate called without an active exception").
# DistributedDataParallel would import it later.
if dist.is_available():
    import torch.distributed.nn.functional

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    Attributes:
        rank: its number, from 0; the first one writes.
        count: of processes.
        device: that it computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        return self.rank == 0

    def own(self, step: int, batch: int) -> range:
        """Numbers of its samples of a step."""
        return range(step * batch + self.rank, (step + 1) * batch, self.count)

    def draw(self, own: int, batch: int, *shape: int) -> Tensor:
        """Its rows (own, *shape) of a uniform draw for the whole batch."""
        if self.count == 1:
            return torch.rand((own, *shape), device=self.device)
        return torch.rand((batch, *shape), device=self.device)[self.rank :: self.count]

    def weights(self, counts: Tensor) -> Tensor:
        """What to multiply means over `counts` things with, so that the processes' mean is right.

        n_r W / sum of n over the W processes; 1 where nobody has any.
        """
        if self.count == 1:
            return torch.ones_like(counts, dtype=torch.float32)
        total = counts.double()
        dist.all_reduce(total)
        return (counts * self.count / total.clamp(min=1)).float() + (total == 0).float()

    def sum(self, values: Tensor) -> Tensor:
        """The processes' sum of a tensor."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """The processes' mean of a tensor."""
        return self.sum(values) / self.count if self.count > 1 else values

    def told(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, device=self.device)
        return box[0]

    def shared(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are averaged over the processes."""
        if self.count == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)


def first() -> bool:
    """Whether this is the process that writes; always, where torchrun did not start it."""
    return int(os.environ.get("RANK", 0)) == 0


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun started; this one alone where it did not.

    Raises:
        NemoError: saying which process failed, or that another one did.
    """
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if count == 1:
        yield Ranks(device=device)
        return
    if device.type == "cuda":
        if device.index >= torch.cuda.device_count():
            raise NemoError(
                f"rank {rank}: there are {torch.cuda.device_count()} GPUs on this machine; give "
                "torchrun --nproc-per-node that number"
            )
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield Ranks(rank, count, device)
    except NemoError as error:
        raise NemoError(f"rank {rank} of {count}: {error}") from error
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise NemoError(
            f"rank {rank} of {count}: another process has ended; see what it said ({error})"
        ) from error
    finally:
        gc.collect()  # DistributedDataParallel is in a cycle, and holds the group
        if dist.is_initialized():
            dist.destroy_process_group()


def _lost(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in words or "nccl" in words
