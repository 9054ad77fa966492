# SPDX-License-Identifier: Apache-2.0
"""nemo bag-from-frames: images, intrinsics and a CSV become a bag; mistakes are named."""

from __future__ import annotations

import argparse
import json

import cv2
import numpy as np
import pytest
from recordings import COUNT, arguments, box_at, write_files
from tracking_doubles import CAMERA, pose_at

from nemo_model.errors import NemoError
from nemo_ros import conversion
from nemo_ros.bags import Bag
from nemo_ros.commands import bag_from_frames


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    bag_from_frames.add_arguments(parser)
    return bag_from_frames.run(parser.parse_args(list(words)))


def decoded(bag: Bag, topic: str) -> list:
    return [bag.decode(raw) for raw in bag.messages({topic: 0})]


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path / "recording")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_the_bag_holds_what_the_files_say(tmp_path, files, storage, encoding):
    out = tmp_path / "bag"
    options = ("--format", storage, "--encoding", encoding, "--ground-truth", str(files["truth"]))
    assert run(*arguments(files, out, *options)) == 0
    bag = Bag(out)
    topic = "/camera/image_rect" + ("" if encoding == "raw" else "/compressed")
    images = decoded(bag, topic)
    assert len(images) == COUNT
    assert [conversion.stamp_ns(m) for m in images[:3]] == [
        1_000_000_000,
        1_100_000_000,
        1_200_000_000,
    ]
    assert conversion.frame_id(images[0]) == "camera_optical"
    written = cv2.imread(str(files["images"] / "000003.png"))[:, :, ::-1]
    np.testing.assert_array_equal(conversion.image_from(images[3]), written)
    camera, distortion = conversion.camera_from(decoded(bag, "/camera/camera_info")[0], True)
    np.testing.assert_array_equal(camera.K, CAMERA.K)
    assert (camera.width, camera.height, distortion) == (CAMERA.width, CAMERA.height, None)
    boxes = decoded(bag, "/detections")
    (box,) = conversion.detections_from(boxes[3], {})
    assert box.box == pytest.approx(box_at(3))
    assert (box.category, box.score, box.track_id) == ("car", 1.0, "")
    assert conversion.stamp_ns(boxes[3]) == conversion.stamp_ns(images[3])
    (truth,) = conversion.object_poses_from(decoded(bag, "/ground_truth")[3])
    np.testing.assert_allclose(truth.T_cam_obj, pose_at(CAMERA.K, box_at(3)), atol=1e-9)
    assert truth.id == "a"
    np.testing.assert_allclose(truth.size, [1.8, 4.5, 1.5])


def test_jpeg_files_are_taken_as_they_are(tmp_path):
    files = write_files(tmp_path / "recording", count=3, suffix=".jpg")
    run(*arguments(files, tmp_path / "bag"))
    messages = decoded(Bag(tmp_path / "bag"), "/camera/image_rect/compressed")
    own = (files["images"] / "000001.jpg").read_bytes()
    assert bytes(messages[1].data) == own


def test_frames_without_a_row_get_no_boxes_and_columns_are_used(tmp_path, files):
    files["boxes"].write_text(
        "frame, time_s, x1, y1, x2, y2, category, score, id\n"
        "1, 0.15, 10, 10, 50, 60, van, 0.5, 7\n"
        "1, 0.15, 60, 10, 90, 60, , , \n"
    )
    run(*arguments(files, tmp_path / "bag", "--category", "truck", "--limit", "3"))
    boxes = decoded(Bag(tmp_path / "bag"), "/detections")
    found = [conversion.detections_from(m, {}) for m in boxes]
    assert [len(f) for f in found] == [0, 2, 0]
    assert [(d.category, d.score, d.track_id) for d in found[1]] == [
        ("van", 0.5, "7"),
        ("truck", 1.0, ""),
    ]
    assert conversion.stamp_ns(boxes[1]) == 1_150_000_000


def test_rate_goes_before_the_column_of_times(tmp_path, files):
    rows = [f"{i},{i * 0.5},1,1,50,50" for i in range(COUNT)]
    files["boxes"].write_text("frame,time_s,x1,y1,x2,y2\n" + "\n".join(rows))
    run(*arguments(files, tmp_path / "bag", "--rate", "20", "--start", "100"))
    stamps = [conversion.stamp_ns(m) for m in decoded(Bag(tmp_path / "bag"), "/detections")]
    assert stamps[:2] == [100_000_000_000, 100_050_000_000]


def test_rows_may_name_the_image(tmp_path, files):
    files["boxes"].write_text("image,x1,y1,x2,y2\n000002.png,1,2,30,40\n")
    run(*arguments(files, tmp_path / "bag"))
    boxes = decoded(Bag(tmp_path / "bag"), "/detections")
    assert [len(m.detections) for m in boxes] == [0, 0, 1] + [0] * (COUNT - 3)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("frame,x1,y1,x2\n0,1,2,3\n", r"lacks the column\(s\) y2"),
        ("x1,y1,x2,y2\n1,2,3,4\n", r"lacks the column\(s\) frame"),
        ("frame,x1,y1,x2,y2\n0,1,2,three,4\n", r"line 2: x2 is 'three'"),
        ("frame,x1,y1,x2,y2\n0,1,2,nan,4\n", r"line 2: x2 is 'nan'"),
        ("frame,x1,y1,x2,y2\n0,1,2\n", r"line 2: has not as many fields"),
        ("frame,x1,y1,x2,y2\n99,1,2,3,4\n", r"frame\(s\) 99, which no image belongs to"),
        ("frame,x1,y1,x2,y2\n0,1,2,30,40\n1,30,2,30,40\n", r"line 3: the box is empty"),
        ("frame,x1,y1,x2,y2\n0,700,2,730,40\n", r"line 2: the box lies outside the image"),
        ("frame,time_s,x1,y1,x2,y2\n0,1,1,2,3,4\n1,0.5,1,2,3,4\n", r"0.5 s is not after 1 s"),
    ],
)
def test_mistakes_in_the_table_name_file_and_line(tmp_path, files, table, words):
    files["boxes"].write_text(table)
    with pytest.raises(NemoError, match=words):
        run(*arguments(files, tmp_path / "bag"))
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"K": [0, 0, 0, 0, 0, 0, 0, 0, 0]}, "not calibrated"),
        ({"K": [1, 2, 3]}, "reshape"),
        ({"K": None}, "camera_info.json"),
        ({"D": [0.1, 0, 0, 0, 0], "rectified": False}, "undistort"),
        ({"width": 100}, "640 x 360 pixels, but the camera_info says 100 x 360"),
    ],
)
def test_mistakes_in_the_intrinsics_are_named(tmp_path, files, change, words):
    values = json.loads(files["camera"].read_text()) | change
    files["camera"].write_text(json.dumps(values))
    with pytest.raises(NemoError, match=words):
        run(*arguments(files, tmp_path / "bag"))


def test_other_mistakes_are_named(tmp_path, files):
    with pytest.raises(NemoError, match="is not a folder"):
        run(*arguments(files | {"images": tmp_path / "none"}, tmp_path / "bag"))
    with pytest.raises(NemoError, match="holds no image"):
        run(*arguments(files | {"images": tmp_path}, tmp_path / "bag"))
    with pytest.raises(NemoError, match="cannot be read as JSON"):
        run(*arguments(files | {"camera": files["boxes"]}, tmp_path / "bag"))
    with pytest.raises(NemoError, match="must be positive"):
        run(*arguments(files, tmp_path / "bag", "--rate", "0"))
    (files["images"] / "000004.png").write_bytes(b"no picture")
    with pytest.raises(NemoError, match=r"000004.png: is no image"):
        run(*arguments(files, tmp_path / "bag"))
    (files["images"] / "000004.png").unlink()
    files["truth"].write_text("frame,x,y,z\n0,1,2,3\n")
    options = ("--ground-truth", str(files["truth"]))
    files["boxes"].write_text("frame,x1,y1,x2,y2\n0,1,2,30,40\n")
    with pytest.raises(NemoError, match="lacks a rotation"):
        run(*arguments(files, tmp_path / "bag2", *options))


def test_kitti_lead_car_becomes_a_bag_as_it_is(tmp_path, shared_data):
    folder = shared_data / "kitti_lead_car"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    files = {
        "images": folder / "images",
        "camera": folder / "camera_info.json",
        "boxes": folder / "lead_car.csv",
    }
    out = tmp_path / "lead"
    run(*arguments(files, out))
    bag = Bag(out)
    assert {topic.count for topic in bag.topics.values()} == {78}
    images = list(bag.messages({"/camera/image_rect/compressed": 0}))
    assert images[77].log_ns - images[0].log_ns == 7_700_000_000
    first = bag.decode(images[0])
    assert bytes(first.data) == (files["images"] / "000000.jpg").read_bytes()
    (box,) = conversion.detections_from(decoded(bag, "/detections")[0], {})
    assert box.box == pytest.approx((554.6, 193.0, 700.0, 316.0))
