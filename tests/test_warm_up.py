# SPDX-License-Identifier: Apache-2.0
"""After the warm-up no frame waits for a compiler: the recording of the demo needs nothing more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, pkgutil, importlib
import nemo_model
from pathlib import Path
from numba.core.dispatcher import Dispatcher
from nemo_ros.bags import Bag
from nemo_ros.pipeline import load_estimators, warm_up
from nemo_ros import replay
from nemo_ros.settings import read_parameters
from nemo_model.tracker import Tracker

def compiled():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("nemo_model"):
            for key, value in vars(module).items():
                if isinstance(value, Dispatcher):
                    found[f"{value.__module__}.{key}"] = len(value.signatures)
    return found

estimators = load_estimators(sys.argv[1])
warm_up(estimators)
before = compiled()
config = read_parameters(None).replay
bag = Bag(Path(sys.argv[2]))
topics = replay.choose_topics(bag, None, None, None, None)
tally = replay.Tally()
frames = 0
for record in replay.replay(bag, topics, Tracker(estimators, config.tracker), config, tally):
    frames += 1
late = {name for name, count in compiled().items() if count != before.get(name, 0)}
assert len(before) > 10 and frames > 100, (len(before), frames)
print("compiled late:", *sorted(late))
"""


def test_nothing_is_compiled_while_frames_wait(repository: Path) -> None:
    words = [repository / "models" / "car", repository / "demo" / "recording"]
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "compiled late:", found.stdout
