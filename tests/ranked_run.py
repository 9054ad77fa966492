# SPDX-License-Identifier: Apache-2.0
"""What torchrun starts in test_training_ranks.py: SET OUT STEPS BATCH [LOST RANK]."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from pathlib import Path

import training_set

from nemo_model.errors import NemoError
from nemo_model.training import train as loop


def main(root: Path, out: Path, steps: int, batch: int, lost: int = -1) -> int:
    """Train; the process number `lost` looks for its data where there is none.

    Returns 3 where threads of gloo outlive the run: they may abort the process as Python ends.
    """
    loop.LOG_EVERY = 1
    gc.disable()  # or chance decides whether what is in a cycle has gone
    rank = int(os.environ["RANK"])
    photos = root / ("nowhere" if rank == lost else "photos")
    config = training_set.config(steps=steps, batch=batch, decay=0.0)
    # each process writes to a folder of its own, if it does
    try:
        loop.train(root, photos, out / str(rank), config, workers=0, resume=True, save_every=2)
    except NemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    left = [name for name in threads() if "gloo" in name]
    if left:
        print(f"error: still running: {left}", file=sys.stderr)
        return 3
    return 0


def threads() -> list[str]:
    """Names of this process's threads, C++ ones too; none where the system does not tell them."""
    names = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            names.append(path.read_text())
    return names


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])))
