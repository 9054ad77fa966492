# SPDX-License-Identifier: Apache-2.0
"""Bags: both storages, both ways; damage is survived and told; what is missing is named."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from nemo_model.boxes import Detection
from nemo_ros import conversion
from nemo_ros.bags import FORMATS, Bag, BagError, BagWriter
from nemo_ros.bagtypes import DETECTIONS_2D, IMAGE, store_for, typestore

COUNT = 40
SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}


def boxes(bag: BagWriter, index: int, number: int = 1):
    header = conversion.header(bag.messages, stamp(index), "camera")
    found = [Detection((10.0 + index, 20.0, 60.0, 70.0), "car", 0.5, str(i)) for i in range(number)]
    return conversion.boxes_message(bag.messages, header, found)


def stamp(index: int) -> int:
    return 1_000_000_000 + index * 100_000_000


def write(path: Path, storage: str, count: int = COUNT) -> Path:
    """Boxes and noise images (they do not compress) of one stamp, the image written first."""
    rng = np.random.default_rng(1)
    with BagWriter(path, storage) as bag:
        for index in range(count):
            header = conversion.header(bag.messages, stamp(index), "camera")
            image = rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)
            message = conversion.image_message(bag.messages, header, image)
            bag.write("/image", IMAGE, stamp(index), message)
            bag.write("/boxes", DETECTIONS_2D, stamp(index), boxes(bag, index))
    return path


def storage_file(path: Path) -> Path:
    (file,) = [p for p in path.iterdir() if p.suffix in SUFFIX.values()]
    return file


def cut(path: Path, share: float) -> int:
    """Keep the first part of a bag's storage file; returns how many bytes that is."""
    file = storage_file(path)
    size = int(file.stat().st_size * share)
    with file.open("r+b") as handle:
        handle.truncate(size)
    return size


def read(bag: Bag, **ranks: int) -> list[tuple[str, int, bytes]]:
    ranked = {f"/{name}": rank for name, rank in ranks.items()} or {"/boxes": 0, "/image": 1}
    return [(raw.topic, raw.log_ns, raw.data) for raw in bag.messages(ranked)]


@pytest.mark.parametrize("storage", FORMATS)
def test_what_is_written_is_read(tmp_path, storage):
    bag = Bag(write(tmp_path / "bag", storage))
    assert {t.name: (t.msgtype, t.count) for t in bag.topics.values()} == {
        "/image": (IMAGE, COUNT),
        "/boxes": (DETECTIONS_2D, COUNT),
    }
    messages = list(bag.messages({"/boxes": 0, "/image": 1}))
    assert [m.topic for m in messages[:4]] == ["/boxes", "/image", "/boxes", "/image"]
    decoded = bag.decode(messages[2])
    assert conversion.stamp_ns(decoded) == stamp(1)
    (found,) = conversion.detections_from(decoded, {})
    assert found.box == (11.0, 20.0, 60.0, 70.0)
    assert bag.loss.words() == []


def test_both_storages_give_the_same_messages_in_the_same_order(tmp_path):
    a = Bag(write(tmp_path / "a", "mcap"))
    b = Bag(write(tmp_path / "b", "sqlite3"))
    assert read(a) == read(b)
    assert [topic for topic, _, _ in read(a, image=0, boxes=1)[:2]] == ["/image", "/boxes"]


@pytest.mark.parametrize("storage", FORMATS)
def test_a_storage_file_alone_is_a_bag(tmp_path, storage):
    path = write(tmp_path / "bag", storage)
    assert read(Bag(storage_file(path))) == read(Bag(path))


def test_mcap_is_the_same_bytes_twice(tmp_path):
    first = storage_file(write(tmp_path / "a" / "bag", "mcap")).read_bytes()
    assert first == storage_file(write(tmp_path / "b" / "bag", "mcap")).read_bytes()


@pytest.mark.parametrize("storage", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.55, 0.9])
def test_of_a_cut_off_bag_the_beginning_is_read_and_the_loss_is_told(tmp_path, storage, share):
    path = write(tmp_path / "bag", storage)
    whole = read(Bag(path), image=0, boxes=1)  # the order of writing
    cut(path, share)
    bag = Bag(path)
    left = read(bag, image=0, boxes=1)
    assert (left == whole[: len(left)]) is True
    assert abs(len(left) / len(whole) - share) < 0.1
    words = " ".join(bag.loss.words())
    assert "damaged" in words
    assert storage_file(path).name in words
    assert bag.topics["/image"].count == sum(topic == "/image" for topic, _, _ in left)
    assert (read(bag, image=0, boxes=1) == left) is True  # a second reading is the same


@pytest.mark.parametrize("storage", FORMATS)
def test_a_cut_off_storage_file_alone_is_read_too(tmp_path, storage):
    path = write(tmp_path / "bag", storage)
    cut(path, 0.6)
    assert read(Bag(storage_file(path))) == read(Bag(path))


@pytest.mark.parametrize("storage", FORMATS)
def test_a_killed_recording_without_metadata_is_read(tmp_path, storage):
    path = write(tmp_path / "bag", storage)
    whole = read(Bag(path))
    (path / "metadata.yaml").unlink()
    bag = Bag(path)
    assert read(bag) == whole
    assert "metadata" in bag.loss.words()[0]


def chunk_starts(content: bytes) -> list[int]:
    """Where the records of an MCAP file's chunks begin (a record is opcode, length, content)."""
    starts, at = [], 8
    while at < len(content) - 8:
        opcode, length = struct.unpack("<BQ", content[at : at + 9])
        if opcode == 0x06:
            starts.append(at)
        at += 9 + length
    return starts


def test_a_damaged_chunk_ends_the_stream_there(tmp_path):
    path = write(tmp_path / "bag", "mcap", count=60)
    whole = read(Bag(path))
    file = storage_file(path)
    content = bytearray(file.read_bytes())
    starts = chunk_starts(content)
    assert len(starts) >= 3
    head = starts[1] + 9 + 40  # an uncompressed chunk's first record
    content[head : head + 9] = b"\x05" + b"\xff" * 8
    file.write_bytes(content)
    bag = Bag(path)
    left = read(bag)
    assert 0.2 * len(whole) < len(left) < 0.7 * len(whole)
    assert (left == whole[: len(left)]) is True
    assert "the rest is left out" in bag.loss.words()[0]


@pytest.mark.parametrize("share", [0.0, 0.0001])
@pytest.mark.parametrize("storage", FORMATS)
def test_a_bag_of_which_nothing_is_left_is_refused_by_name(tmp_path, storage, share):
    path = write(tmp_path / "bag", storage)
    cut(path, share)
    with pytest.raises(BagError, match=r"cannot be read as a bag") as caught:
        Bag(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_bags_are_refused(tmp_path):
    with pytest.raises(BagError, match="does not exist"):
        Bag(tmp_path / "nothing")
    with pytest.raises(BagError, match=r"no metadata.yaml"):
        Bag(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(BagError, match="cannot be read as a bag"):
        Bag(text)
    fake = tmp_path / "fake.mcap"
    fake.write_text("hello, this is not a bag at all")
    with pytest.raises(BagError, match="does not begin as an MCAP file"):
        Bag(fake)


def test_an_undecodable_message_is_counted_and_left_out(tmp_path):
    path = tmp_path / "bag"
    with BagWriter(path) as bag:
        bag.write("/boxes", DETECTIONS_2D, stamp(0), boxes(bag, 0))
        connection = bag._connections["/boxes"]
        bag._writer.write(connection, stamp(1), b"\x00\x01\x00\x00\x05\x00")
        bag.write("/boxes", DETECTIONS_2D, stamp(2), boxes(bag, 2))
    read_bag = Bag(path)
    decoded = [read_bag.decode(raw) for raw in read_bag.messages({"/boxes": 0})]
    assert [message is None for message in decoded] == [False, True, False]
    assert read_bag.loss.words() == ["1 message(s) of /boxes could not be decoded"]


def test_a_wrong_topic_lists_what_there_is(tmp_path):
    bag = Bag(write(tmp_path / "bag", "mcap", count=2))
    with pytest.raises(BagError, match="no topic '/camera' for images") as caught:
        bag.require("/camera", (IMAGE,), "images")
    assert f"/image [{IMAGE}, 2 messages]" in str(caught.value)
    with pytest.raises(BagError, match="needs sensor_msgs/msg/Image"):
        bag.require("/boxes", (IMAGE,), "images")


def test_writing_over_something_is_refused(tmp_path):
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path)
    with pytest.raises(BagError, match="unknown"):
        BagWriter(tmp_path / "x", "rosbag1")


def test_an_older_version_of_a_message_is_read_by_its_own_definition():
    text = typestore().generate_msgdef(DETECTIONS_2D, ros_version=2)[0]
    definition = MessageDefinition(MessageDefinitionFormat.MSG, text)
    assert store_for(DETECTIONS_2D, definition) is typestore()
    # vision_msgs/Detection2D of another version, without the id
    older = MessageDefinition(MessageDefinitionFormat.MSG, text.replace("string id\n", ""))
    store = store_for(DETECTIONS_2D, older)
    assert store is not typestore()
    names = [name for name, _ in store.fielddefs["vision_msgs/msg/Detection2D"][1]]
    assert "id" not in names


def test_a_type_that_nobody_knows_is_refused():
    nothing = MessageDefinition(MessageDefinitionFormat.NONE, "")
    assert store_for(IMAGE, nothing) is typestore()
    with pytest.raises(ValueError, match="no definition in the bag"):
        store_for("my_msgs/msg/Thing", nothing)


def test_vision_msgs_is_found_in_an_installation(tmp_path, monkeypatch, repository):
    from nemo_ros import bagtypes

    source = repository / "interfaces" / "vision_msgs" / "msg"
    share = tmp_path / "share" / "vision_msgs" / "msg"
    shutil.copytree(source, share)
    monkeypatch.setattr(bagtypes, "__file__", str(tmp_path / "elsewhere" / "bagtypes.py"))
    monkeypatch.setattr(bagtypes.sys, "prefix", str(tmp_path))
    assert bagtypes.vision_msgs_folder() == share
    shutil.rmtree(share)
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(ValueError, match=r"no \.msg files found"):
        bagtypes.vision_msgs_folder()
