# SPDX-License-Identifier: Apache-2.0
"""nemo replay: the same bytes twice, damage and bad input survived, scores, page and film."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import COUNT, ImageEstimator, box_at, write_files
from replaying import fill, make_bag, result, run
from tracking_doubles import CAMERA

from nemo_model.boxes import Detection
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_ros import conversion
from nemo_ros.bags import Bag, BagError, BagWriter
from nemo_ros.bagtypes import DETECTIONS_2D, DETECTIONS_3D
from nemo_ros.commands import replay
from nemo_ros.conversion import writing


@pytest.fixture
def double(monkeypatch):
    """Replay with an estimator whose answers are known, in place of a model."""
    monkeypatch.setattr(replay, "load_estimators", lambda *args: {"car": ImageEstimator()})
    monkeypatch.setattr(replay, "default_model", lambda: Path("double"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("recording"))


@pytest.fixture(scope="module")
def bag(tmp_path_factory, recording):
    out = tmp_path_factory.mktemp("bag") / "small"
    return make_bag(recording, out, "--encoding", "png", "--ground-truth", str(recording["truth"]))


# -- determinism ----------------------------------------------------------------------------------


def test_two_runs_write_the_same_bytes(tmp_path, bag, double):
    written = []
    for name in ("a", "b"):
        json_file, out = tmp_path / f"{name}.json", tmp_path / name / "poses"
        run(bag, "--json", json_file, "--ground-truth", "/ground_truth", "--output-bag", out)
        written.append((json_file.read_bytes(), (out / "poses.mcap").read_bytes()))
    assert written[0] == written[1]
    assert (tmp_path / "a.timing.json").is_file()
    assert "ms" not in json.loads(written[0][0])["scores"]["summary"]


def test_both_storages_and_encodings_give_the_same_poses(tmp_path, recording, double):
    frames = []
    for storage, encoding in (("mcap", "png"), ("sqlite3", "png"), ("mcap", "raw")):
        made = make_bag(
            recording,
            tmp_path / f"{storage}_{encoding}",
            *("--format", storage, "--encoding", encoding),
        )
        run(made, "--json", tmp_path / "out.json")
        frames.append(result(tmp_path / "out.json")["frames"])
    assert len(frames[0]) == COUNT
    assert frames[0] == frames[1] == frames[2]


def test_the_output_bag_holds_the_poses_of_the_json(tmp_path, bag, double):
    out = tmp_path / "poses"
    options = ("--output-bag", out, "--format", "sqlite3", "--overlay-in-bag")
    run(bag, "--json", tmp_path / "out.json", *options)
    made = Bag(out)
    messages = [made.decode(raw) for raw in made.messages({"/nemo/poses": 0})]
    frames = result(tmp_path / "out.json")["frames"]
    assert [conversion.stamp_ns(m) for m in messages] == [f["stamp_ns"] for f in frames]
    assert {conversion.frame_id(m) for m in messages} == {"camera_optical"}
    for message, frame in zip(messages, frames, strict=True):
        (pose,) = conversion.object_poses_from(message)
        (expected,) = frame["objects"]
        assert (pose.id, pose.category) == ("car-1", "car")
        np.testing.assert_array_equal(pose.T_cam_obj[:3, 3], expected["position_m"])
        np.testing.assert_array_equal(pose.covariance, expected["covariance"])
    assert made.topics["/nemo/overlay"].count == COUNT


# -- scores, page, film ---------------------------------------------------------------------------


def test_ground_truth_is_scored(tmp_path, bag, double, capsys):
    run(bag, "--json", tmp_path / "out.json", "--ground-truth", "/ground_truth")
    scores = result(tmp_path / "out.json")["scores"]
    summary = scores["summary"]
    assert summary["recall"] == 1.0
    assert summary["id_switches"] == 0
    # the double turns by up to 0.3 rad with the pixels, and keeps the pose while it is warm
    assert 0.0 < summary["rotation_median_deg"] < 17.2
    assert summary["position_median_m"] < 0.5
    assert len(scores["matches"]) == COUNT
    printed = capsys.readouterr().out
    assert f"found {COUNT} of {COUNT} objects (100 %)" in printed


def test_what_a_limit_leaves_out_is_not_missed(tmp_path, bag, double):
    options = ("--limit", "5", "--ground-truth", "/ground_truth")
    run(bag, "--json", tmp_path / "out.json", *options)
    summary = result(tmp_path / "out.json")["scores"]["summary"]
    assert (summary["truth_objects"], summary["recall"]) == (5, 1.0)


def test_the_page_is_self_contained_and_shows_everything(tmp_path, bag, double):
    page = tmp_path / "report.html"
    run(bag, "--report", page, "--ground-truth", "/ground_truth")
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", text)
    assert "<script" not in text
    assert "@import" not in text
    for words in ("Rotation error", "Position error", "Worst frames", "Time per frame", "p99"):
        assert words in text
    assert text.count("data:image/svg+xml;base64,") >= 5
    assert text.count("data:image/jpeg;base64,") >= 2
    assert "&#x27;" not in text[:200]


def test_the_page_without_ground_truth(tmp_path, bag, double):
    page = tmp_path / "report.html"
    run(bag, "--report", page)
    text = page.read_text()
    assert "lowest score first" in text
    assert "Rotation error" not in text


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4", ".avi"])
def test_films(tmp_path, bag, double, suffix):
    film = tmp_path / f"film{suffix}"
    run(bag, "--overlay", film)
    if suffix in (".gif", ".webp"):
        from PIL import Image

        with Image.open(film) as picture:
            assert picture.n_frames == COUNT
            assert picture.size == (640, 360)
    else:
        import cv2

        video = cv2.VideoCapture(str(film))
        assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == COUNT
        assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)


def test_a_film_of_an_unknown_kind_is_refused(tmp_path, bag, double):
    with pytest.raises(NemoError, match="unknown kind of film"):
        run(bag, "--overlay", tmp_path / "film.mov")


# -- topics ---------------------------------------------------------------------------------------


def test_a_wrong_topic_name_lists_what_there_is(bag, double):
    for option in ("--image-topic", "--camera-info-topic", "--detections-topic", "--ground-truth"):
        with pytest.raises(BagError, match="no topic '/wrong'") as caught:
            run(bag, option, "/wrong")
        for name in ("/camera/image_rect/compressed", "/detections", "/ground_truth"):
            assert name in str(caught.value)


def test_several_topics_have_to_be_chosen_from(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        fill(
            writer,
            0,
            images=("/left/image", "/right/image"),
            infos=("/left/camera_info", "/right/camera_info"),
        )
    with pytest.raises(BagError, match=r"/left/image, /right/image; choose with --image-topic"):
        run(tmp_path / "bag")
    run(tmp_path / "bag", "--image-topic", "/right/image", "--json", tmp_path / "out.json")
    assert result(tmp_path / "out.json")["topics"] == {
        "image": "/right/image",
        "camera_info": "/right/camera_info",  # the one beside it
        "detections": "/boxes",
        "ground_truth": "",
    }


def test_a_missing_kind_of_topic_is_named(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        fill(writer, 0, boxes=())
    with pytest.raises(BagError, match=r"no topic with boxes \(vision_msgs/msg/Detection2DArray\)"):
        run(tmp_path / "bag")


# -- bad input ------------------------------------------------------------------------------------


def test_a_cut_off_bag_is_processed_as_far_as_it_goes(tmp_path, bag, double, capsys):
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    run(bag, "--json", whole)
    copy = tmp_path / "small"
    shutil.copytree(bag, copy)
    file = copy / "small.mcap"
    with file.open("r+b") as handle:
        handle.truncate(int(file.stat().st_size * 0.6))
    run(copy, "--json", part, "--report", tmp_path / "report.html")
    kept = result(part)["frames"]
    assert 0 < len(kept) < COUNT
    assert kept == result(whole)["frames"][: len(kept)]
    assert "damaged" in result(part)["losses"][0]
    assert "warning" in capsys.readouterr().err
    assert "Not all of the bag could be read" in (tmp_path / "report.html").read_text()


def test_an_empty_stream_of_boxes_gives_empty_answers(tmp_path, double, capsys):
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(4):
            fill(writer, index, found=[])
    run(tmp_path / "bag", "--json", tmp_path / "out.json", "--report", tmp_path / "out.html")
    frames = result(tmp_path / "out.json")["frames"]
    assert [frame["objects"] for frame in frames] == [[], [], [], []]
    assert "No object was found" in (tmp_path / "out.html").read_text()


def test_a_box_topic_without_messages_is_told(tmp_path, double, capsys):
    with BagWriter(tmp_path / "bag") as writer:
        fill(writer, 0)
        for index in range(1, 13):
            fill(writer, index, boxes=())
    bag = tmp_path / "bag"
    run(bag, "--json", tmp_path / "out.json")
    counts = result(tmp_path / "out.json")["counts"]
    assert counts["frames"] == 1
    assert counts["images_without_boxes"] >= 2  # what the joiner's buffer of 10 let go


def test_a_bag_in_which_nothing_is_answered_fails(tmp_path, double, capsys):
    with BagWriter(tmp_path / "bag") as writer:
        fill(writer, 0, camera=None, infos=())
        fill(writer, 1, image=np.zeros((10, 10, 3), np.uint8))
    assert run(tmp_path / "bag") == 1
    assert "no frame was answered" in capsys.readouterr().out


def test_bad_frames_are_reported_and_survived(tmp_path, double):
    nan = float("nan")
    uncalibrated = Camera(CAMERA.K, CAMERA.width, CAMERA.height)
    object.__setattr__(uncalibrated, "K", np.zeros((3, 3)))
    with BagWriter(tmp_path / "bag") as writer:
        fill(writer, 0, camera=uncalibrated)
        fill(writer, 1)
        fill(writer, 2, found=[Detection((nan, 1, 2, 3), "car"), Detection(box_at(2), "car")])
        fill(writer, 3, found=[Detection(box_at(3), "zebra")])
        fill(writer, 4, image=np.zeros((10, 10, 3), np.uint8))
        fill(writer, 5, stamp=1_150_000_000)  # older than frame 3
        fill(writer, 6)
    run(tmp_path / "bag", "--json", tmp_path / "out.json", "--report", tmp_path / "out.html")
    content = result(tmp_path / "out.json")
    # the frame whose box is no car's is bridged by the image
    assert [len(frame["objects"]) for frame in content["frames"]] == [1, 1, 1, 1]
    assert content["frames"][1]["rejected"][0]["box"][0] is None  # NaN is no JSON
    texts = " | ".join(f"{p['kind']}: {p['text']}" for p in content["problems"])
    for words in (
        "camera_info: K is zero",
        "camera_info: none that can be used has arrived",
        "boxes: the box is not finite",
        "boxes: no model for category 'zebra'",
        "frame: the image is 10x10 pixels",
        "order: frame stamp 1150000000 is not newer",
    ):
        assert words in texts
    assert "none that can be used" in (tmp_path / "out.html").read_text()


def test_images_answered_at_once_catch_up_with_late_boxes_to_the_same_bytes(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(8):
            fill(writer, index, boxes=())
            if index >= 2:
                stamp = 1_000_000_000 + (index - 2) * 100_000_000
                header = conversion.header(writer.messages, stamp, "camera")
                found = [Detection(box_at(index - 2), "car")]
                message = conversion.boxes_message(writer.messages, header, found)
                writer.write("/detections", DETECTIONS_2D, stamp + 250_000_000, message)
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    answer_on_image: true\n")
    for name in ("a.json", "b.json"):
        run(tmp_path / "bag", "--json", tmp_path / name, "--params", params)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    frames = result(tmp_path / "a.json")["frames"]
    assert len(frames) == 8, "every image is answered"
    assert [len(frame["objects"]) for frame in frames] == [0, 0, 0, *[1] * 5]
    assert {frame["objects"][0]["id"] for frame in frames[3:]} == {"car-1"}
    assert frames[3]["objects"][0]["state"] in ("tentative", "tracking")


def test_late_boxes_meet_their_image(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(5):
            fill(writer, index, boxes=())
            if index >= 2:
                header = conversion.header(
                    writer.messages, 1_000_000_000 + (index - 2) * 100_000_000, "camera"
                )
                message = conversion.boxes_message(
                    writer.messages, header, [Detection(box_at(index - 2), "car")]
                )
                at = 1_000_000_000 + index * 100_000_000 + 1
                writer.write("/boxes", DETECTIONS_2D, at, message)
    run(tmp_path / "bag", "--json", tmp_path / "out.json")
    stamps = [frame["stamp_ns"] for frame in result(tmp_path / "out.json")["frames"]]
    assert stamps == [1_000_000_000, 1_100_000_000, 1_200_000_000]


def test_a_clock_that_jumps_back_starts_anew(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(4):
            fill(writer, index, stamp=5_000_000_000 + index * 100_000_000)
        for index in range(4, 8):
            fill(writer, index, stamp=1_000_000_000 + index * 100_000_000)
    run(tmp_path / "bag", "--json", tmp_path / "out.json")
    frames = result(tmp_path / "out.json")["frames"]
    assert [frame["reset"] for frame in frames] == [False] * 4 + [True] + [False] * 3
    assert [frame["objects"][0]["hits"] for frame in frames] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_ground_truth_without_a_pose_is_refused(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        fill(writer, 0)
        header = conversion.header(writer.messages, 1_000_000_000, "camera")
        empty = writer.messages.make(
            "vision_msgs/msg/BoundingBox3D",
            center=writing._pose(writer.messages, np.eye(4)),
            size=writing._vector(writer.messages, np.zeros(3)),
        )
        one = writer.messages.make(
            "vision_msgs/msg/Detection3D", header=header, results=[], bbox=empty, id="a"
        )
        array = writer.messages.make(DETECTIONS_3D, header=header, detections=[one])
        writer.write("/truth", DETECTIONS_3D, 1_000_000_000, array)
    with pytest.raises(NemoError, match="results is empty"):
        run(tmp_path / "bag", "--ground-truth", "/truth")


# -- settings -------------------------------------------------------------------------------------


def test_the_nodes_parameter_file_is_taken(tmp_path, bag, double, repository):
    run(bag, "--params", repository / "config" / "pose.yaml", "--json", tmp_path / "a.json")
    run(bag, "--json", tmp_path / "b.json")
    assert result(tmp_path / "a.json")["frames"] == result(tmp_path / "b.json")["frames"]
    params = tmp_path / "mine.yaml"
    params.write_text("/**:\n  ros__parameters:\n    tracker.cold_every: 2\n    min_score: 1.0\n")
    run(bag, "--params", params, "--json", tmp_path / "c.json")
    content = result(tmp_path / "c.json")
    assert content["settings"]["tracker"]["cold_every"] == 2
    assert all(frame["objects"] == [] for frame in content["frames"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/**:\n  ros__parameters:\n    colour: red\n", r"unknown parameter\(s\) colour"),
        (
            "/**:\n  ros__parameters:\n    tracker:\n      min_iou: 2.0\n",
            "min_iou is 2.0",
        ),
        ("a: 1\n", "needs one node"),
        ("a: [\n", "cannot be read as YAML"),
    ],
)
def test_a_bad_parameter_file_is_refused(tmp_path, bag, double, text, words):
    params = tmp_path / "mine.yaml"
    params.write_text(text)
    with pytest.raises(NemoError, match=words):
        run(bag, "--params", params)


def test_ids_of_the_detector_can_be_ignored(tmp_path, double):
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(3):
            fill(writer, index, found=[Detection(box_at(index), "vehicle", 0.9, f"d{index}")])
    options = ("--class-map", "vehicle=car", "--json", tmp_path / "out.json")
    run(tmp_path / "bag", *options)
    named = [f["objects"][0]["id"] for f in result(tmp_path / "out.json")["frames"]]
    assert named == ["d0", "d1", "d2"]
    run(tmp_path / "bag", "--ignore-ids", *options)
    joined = [f["objects"][0]["id"] for f in result(tmp_path / "out.json")["frames"]]
    assert joined == ["car-1"] * 3


def test_wrong_options_are_errors_of_the_user(bag, tmp_path):
    with pytest.raises(NemoError, match=r"card\.json"):
        run(bag, "--model", tmp_path)
    with pytest.raises(NemoError, match="--limit is -1"):
        run(bag, "--limit", "-1")
