# SPDX-License-Identifier: Apache-2.0
"""The KITTI loader: the object's frame, the camera's, and damaged files."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pascal3d_files import write_kitti

from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.kitti import Kitti, object_pose, read_calibration
from nemo_model.pose import angles_from_rotation

CAR = "Car 0.00 1 -1.57 560 160 660 230 1.5 1.7 4.2 0.1 1.6 15.0 -1.5707963"


def test_car_that_drives_away_is_seen_from_behind(tmp_path: Path) -> None:
    car = Kitti(write_kitti(tmp_path, {"000000": [CAR]}))[0]
    azimuth, elevation, theta = angles_from_rotation(car.R_cam_obj)
    assert math.degrees(azimuth) == pytest.approx(180.0, abs=1e-4)
    assert elevation == pytest.approx(0.0, abs=1e-6)
    assert theta == pytest.approx(0.0, abs=1e-6)
    assert car.T_cam_obj[:3, 3] == pytest.approx([0.1, 1.6 - 0.75, 15.0])  # centre, not bottom
    assert car.dims.tolist() == [1.7, 4.2, 1.5]
    assert car.height_px == 70.0
    assert (car.occluded, car.truncated) == (1, 0.0)


@pytest.mark.parametrize(
    ("rotation_y", "front"),
    [
        (0.0, (1.0, 0.0, 0.0)),
        (-math.pi / 2, (0.0, 0.0, 1.0)),
        (math.pi / 2, (0.0, 0.0, -1.0)),
        (math.pi, (-1.0, 0.0, 0.0)),
    ],
)
def test_front_points_where_rotation_y_says(
    rotation_y: float, front: tuple[float, float, float]
) -> None:
    T = object_pose(np.array([3.0, 1.5, 20.0]), rotation_y, 1.6)
    assert T[:3, :3] @ [0.0, -1.0, 0.0] == pytest.approx(front)
    assert T[:3, :3] @ [0.0, 0.0, 1.0] == pytest.approx([0.0, -1.0, 0.0])  # up
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)


def test_camera_two_stands_beside_camera_zero(tmp_path: Path) -> None:
    """P2 K^-1 shifts the label's frame: projecting with P2 and with K must agree."""
    p2 = "721.5 0 609.6 44.857 0 721.5 172.9 0.2164 0 0 1 0.002746"
    car = Kitti(write_kitti(tmp_path, {"000000": [CAR]}, p2))[0]
    P = np.array([float(word) for word in p2.split()]).reshape(3, 4)
    expected = P @ [0.1, 1.6 - 0.75, 15.0, 1.0]
    found = car.K @ car.T_cam_obj[:3, 3]
    assert found[:2] / found[2] == pytest.approx(expected[:2] / expected[2])
    assert found[2] == pytest.approx(15.002746)


def test_other_classes_are_counted(tmp_path: Path) -> None:
    labels = [CAR, "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10",
              CAR.replace("Car", "Van")]  # fmt: skip
    dataset = Kitti(write_kitti(tmp_path, {"000000": labels, "000001": []}))
    assert len(dataset) == 1
    assert dataset.skipped == Counter({"other class": 2})


def test_training_folder_and_lists(tmp_path: Path) -> None:
    write_kitti(tmp_path / "training", {"000000": [CAR], "000001": [CAR]})
    assert len(Kitti(tmp_path)) == 2
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "val.txt").write_text("000001\n")
    assert [car.name for car in Kitti(tmp_path, "car", "val")] == ["000001"]
    with pytest.raises(DatasetError, match=r"ImageSets/test\.txt"):
        Kitti(tmp_path, "car", "test")


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="label_2"):
        Kitti(tmp_path)
    root = write_kitti(tmp_path, {"000000": [CAR]})
    with pytest.raises(DatasetError, match="'sofa'"):
        Kitti(root, "sofa")
    (root / "label_2" / "000000.txt").write_text("Car 0 0 nonsense\n")
    with pytest.raises(DatasetError, match=r"000000\.txt: object 1"):
        Kitti(root)
    (root / "label_2" / "000000.txt").write_text("Car 0 0 1.0\n")
    with pytest.raises(DatasetError, match="14 finite numbers"):
        Kitti(root)
    (root / "calib" / "000000.txt").write_text("P0: 1 0 0\n")
    with pytest.raises(DatasetError, match="P2"):
        read_calibration(root / "calib" / "000000.txt")
    (root / "calib" / "000000.txt").write_text("P2: 0 0 0 0 0 0 0 0 0 0 1 0\n")
    with pytest.raises(DatasetError, match="focal"):
        read_calibration(root / "calib" / "000000.txt")


def test_boxes_in_space_project_onto_the_boxes_in_the_image(shared_data: Path) -> None:
    root = shared_data / "kitti_cars"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    dataset = Kitti(root)
    assert len(dataset) == 39
    overlaps = []
    for car in dataset:
        if car.truncated > 0:
            continue
        corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * car.dims
        points = corners @ car.R_cam_obj.T + car.T_cam_obj[:3, 3]
        uvw = points @ car.K.T
        uv = uvw[:, :2] / uvw[:, 2:]
        low, high = np.maximum(uv.min(0), car.box[:2]), np.minimum(uv.max(0), car.box[2:])
        common = np.prod(np.maximum(high - low, 0))
        union = np.prod(np.ptp(uv, axis=0)) + np.prod(car.box[2:] - car.box[:2]) - common
        overlaps.append(common / union)
    assert np.median(overlaps) > 0.95  # a wrong sign, height or offset costs far more
    assert min(overlaps) > 0.6
    assert all(car.T_cam_obj[2, 3] > 0 for car in dataset)
