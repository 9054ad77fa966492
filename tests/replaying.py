# SPDX-License-Identifier: Apache-2.0
"""The two bag commands as a test calls them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from recordings import arguments, box_at
from tracking_doubles import CAMERA

from nemo_model.boxes import Detection
from nemo_ros import conversion
from nemo_ros.bags import BagWriter
from nemo_ros.bagtypes import CAMERA_INFO, DETECTIONS_2D, IMAGE
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


def fill(bag: BagWriter, index: int, *, images=("/cam/image_rect",), boxes=("/boxes",), **options):
    """One frame by hand. camera: None leaves camera_info out."""
    stamp = 1_000_000_000 + index * 100_000_000
    header = conversion.header(bag.messages, options.get("stamp", stamp), "camera")
    camera = options.get("camera", CAMERA)
    if camera is not None:
        for topic in options.get("infos", ("/cam/camera_info",)):
            message = conversion.camera_message(bag.messages, header, camera)
            bag.write(topic, CAMERA_INFO, stamp, message)
    for topic in images:
        image = options.get("image", np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8))
        bag.write(topic, IMAGE, stamp, conversion.image_message(bag.messages, header, image))
    for topic in boxes:
        found = options.get("found", [Detection(box_at(index), "car")])
        message = conversion.boxes_message(bag.messages, header, found)
        bag.write(topic, DETECTIONS_2D, stamp, message)
