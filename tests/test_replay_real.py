# SPDX-License-Identifier: Apache-2.0
"""nemo replay with the shipped model on a real drive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replaying import make_bag, result, run

from nemo_ros.settings import default_model


@pytest.fixture(scope="module")
def model() -> Path:
    return default_model()


@pytest.fixture(scope="module")
def lead_car(tmp_path_factory, shared_data) -> Path:
    folder = shared_data / "kitti_lead_car"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    files = {
        "images": folder / "images",
        "camera": folder / "camera_info.json",
        "boxes": folder / "lead_car.csv",
    }
    return make_bag(files, tmp_path_factory.mktemp("lead") / "lead_car", "--limit", "20")


def test_kitti_lead_car_twice_gives_the_same_bytes_and_the_rear_view(tmp_path, lead_car, model):
    for name in ("a.json", "b.json"):
        run(lead_car, "--model", model, "--json", tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    frames = result(tmp_path / "a.json")["frames"]
    assert len(frames) == 20
    assert {frame["objects"][0]["id"] for frame in frames} == {"car-1"}
    headings, distances = [], []
    for frame in frames:
        (one,) = frame["objects"]
        x, y, z, w = one["quaternion_xyzw"]
        front = -np.array([2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)])
        headings.append(abs(np.degrees(np.arctan2(front[0], front[2]))))
        distances.append(one["position_m"][2])
    # seen from behind all along, 7.8 to 6.9 m from its rear plane, about 4.6 m long
    assert np.median(headings) < 15.0
    assert 7.5 < np.median(distances) < 12.0
