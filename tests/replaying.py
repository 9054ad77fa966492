# SPDX-License-Identifier: Apache-2.0
"""The two bag commands as a test calls them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recordings import arguments

from nemo_ros.commands import bag_from_frames, replay


def run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    return replay.run(parser.parse_args([str(word) for word in words]))


def make_bag(files, out: Path, *more: str) -> Path:
    parser = argparse.ArgumentParser()
    bag_from_frames.add_arguments(parser)
    assert bag_from_frames.run(parser.parse_args(arguments(files, out, *more))) == 0
    return out


def result(path: Path) -> dict:
    return json.loads(path.read_text())
