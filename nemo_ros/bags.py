# SPDX-License-Identifier: Apache-2.0
"""Bags, MCAP and sqlite3: topics, messages in the order of time, and what was lost.

A bag is a folder with metadata.yaml, or a single .mcap or .db3 file. What rosbags refuses (a
recording that was cut off) is read as far as it goes by `nemo_ros.salvage`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, MessageDefinition
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys.store import Typestore

from nemo_model.errors import NemoError
from nemo_ros.bagtypes import store_for, typestore
from nemo_ros.messages import RosbagsMessages
from nemo_ros.salvage import Salvage

FORMATS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_SUFFIXES = (".mcap", ".db3")


class BagError(NemoError):
    """A bag that cannot be read or written, or lacks a topic."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag and how many messages it has."""

    name: str
    msgtype: str
    count: int
    definition: MessageDefinition

    def __str__(self) -> str:
        return f"{self.name} [{self.msgtype}, {self.count} messages]"


@dataclass(frozen=True)
class Raw:
    """A message as it lies in the bag: log_ns is the time of recording, data its CDR bytes."""

    topic: str
    msgtype: str
    log_ns: int
    data: bytes


@dataclass
class Loss:
    """What could not be read, in words; empty when the bag is whole."""

    reasons: list[str] = field(default_factory=list)
    undecodable: Counter[str] = field(default_factory=Counter)  # messages by topic

    def words(self) -> list[str]:
        """One sentence per kind of loss."""
        bad = [
            f"{count} message(s) of {topic} could not be decoded"
            for topic, count in sorted(self.undecodable.items())
        ]
        return [*self.reasons, *bad]


class Bag:
    """A bag that is read once or several times. Every reading gives the same messages.

    Raises BagError when nothing can be read at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loss = Loss()
        if not path.exists():
            raise BagError(f"{path}: does not exist; give a bag's folder, a .mcap or a .db3 file")
        try:
            with Reader(path) as reader:
                found = [_topic(connection) for connection in reader.connections]
            self._parts: list[Path] | None = None  # None: rosbags reads it
        except Exception as error:  # rosbags lets struct.error, TypeError and others through
            self._parts = _parts(path)
            found = self._survey(_words(error))
        self.topics: Mapping[str, Topic] = _merge(found)
        self._stores: dict[str, Typestore] = {}

    def require(self, name: str, msgtypes: Collection[str], what: str) -> Topic:
        """The topic of this name. Raises BagError, listing what there is, when it is not usable."""
        topic = self.topics.get(name)
        if topic is None:
            raise BagError(f"{self.path}: no topic {name!r} for {what}; {self.listing()}")
        if topic.msgtype not in msgtypes:
            wanted = " or ".join(sorted(msgtypes))
            raise BagError(
                f"{self.path}: topic {name!r} is {topic.msgtype}, but {what} needs {wanted}; "
                f"{self.listing()}"
            )
        return topic

    def of_type(self, msgtypes: Collection[str]) -> list[Topic]:
        """The topics of these types, those without messages last, else by name."""
        found = [topic for topic in self.topics.values() if topic.msgtype in msgtypes]
        return sorted(found, key=lambda topic: (topic.count == 0, topic.name))

    def listing(self) -> str:
        """What there is, in one line."""
        if not self.topics:
            return "the bag has no topics"
        return "there is: " + ", ".join(str(self.topics[name]) for name in sorted(self.topics))

    def messages(self, ranks: Mapping[str, int]) -> Iterator[Raw]:
        """Messages of the topics in `ranks`, by time of recording.

        Messages of one time come in the order of their topic's rank, so that the order does not
        depend on the storage. Damage ends the stream; `loss` then says why.
        """
        group: list[Raw] = []
        for raw in self._stream(set(ranks)):
            if group and raw.log_ns != group[0].log_ns:
                yield from sorted(group, key=lambda one: ranks[one.topic])
                group.clear()
            group.append(raw)
        yield from sorted(group, key=lambda one: ranks[one.topic])

    def decode(self, raw: Raw) -> Any | None:
        """The message, or None (counted in `loss`) when its bytes make no message of its type.

        Raises BagError for a type without a definition.
        """
        store = self._stores.get(raw.msgtype)
        if store is None:
            store = store_for(raw.msgtype, self.topics[raw.topic].definition)
            self._stores[raw.msgtype] = store
        try:
            return store.deserialize_cdr(raw.data, raw.msgtype)
        except Exception:  # generated code: whatever a cut off buffer leads to
            self.loss.undecodable[raw.topic] += 1
            return None

    # -- reading --------------------------------------------------------------------------------

    def _stream(self, names: set[str]) -> Iterator[Raw]:
        self.loss.undecodable.clear()
        if self._parts is not None:
            yield from self._salvaged(names)
            return
        read = 0
        try:
            with Reader(self.path) as reader:
                wanted = [c for c in reader.connections if c.topic in names]
                if not wanted:
                    return
                for connection, log_ns, data in reader.messages(connections=wanted):
                    read += 1
                    yield Raw(connection.topic, connection.msgtype, log_ns, data)
        except Exception as error:
            where = f"damaged after {read} messages ({_words(error)})"
            self.loss.reasons = [f"{self.path}: {where}; the rest is left out"]

    def _survey(self, reason: str) -> list[Topic]:
        """Count what a damaged bag still holds; sets `loss`."""
        counts: Counter[tuple[Path, str]] = Counter()
        channels = {}
        ends = []
        for part in self._parts or []:
            salvage = Salvage(part)
            for channel, _, _ in salvage.messages():
                counts[part, channel.topic] += 1
            channels.update({(part, c.topic): c for c in salvage.channels.values()})
            if salvage.loss:
                ends.append(f"{part.name}: {salvage.loss}")
        if not counts:
            detail = "; ".join([reason, *ends])
            raise BagError(f"{self.path}: cannot be read as a bag ({detail})")
        self.loss.reasons = [
            f"{self.path}: damaged ({reason}); {sum(counts.values())} messages could be read",
            *ends,
        ]
        return [
            Topic(channel.topic, channel.msgtype, counts[key], channel.definition)
            for key, channel in channels.items()
        ]

    def _salvaged(self, names: set[str]) -> Iterator[Raw]:
        for part in self._parts or []:
            for channel, log_ns, data in Salvage(part).messages():
                if channel.topic in names:
                    yield Raw(channel.topic, channel.msgtype, log_ns, data)


def _topic(connection: Connection) -> Topic:
    return Topic(connection.topic, connection.msgtype, connection.msgcount, connection.msgdef)


def _merge(topics: Iterable[Topic]) -> dict[str, Topic]:
    """One entry per name; several publishers or files of one topic are added up."""
    merged: dict[str, Topic] = {}
    for topic in topics:
        before = merged.get(topic.name)
        count = topic.count + (before.count if before else 0)
        merged[topic.name] = Topic(topic.name, topic.msgtype, count, topic.definition)
    return merged


def _parts(path: Path) -> list[Path]:
    """The storage files of a damaged bag, in the order of recording (name_0, name_1, name_10)."""
    if path.is_file():
        return [path]
    files = [file for file in path.iterdir() if file.suffix in _SUFFIXES]
    if not files:
        raise BagError(f"{path}: holds no metadata.yaml, .mcap or .db3, so it is no bag")
    return sorted(files, key=lambda file: (len(file.stem), file.stem))


def _words(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    return text or type(error).__name__


# -- writing ------------------------------------------------------------------------------------


class BagWriter:
    """Writes a new bag: a folder with metadata.yaml and one storage file.

    Use as a context manager; messages are made by `messages`. Same messages, same bytes (MCAP).
    """

    def __init__(self, path: Path, storage: str = "mcap") -> None:
        """storage: "mcap" or "sqlite3". Raises BagError when the path exists."""
        if storage not in FORMATS:
            raise BagError(f"bag format {storage!r} is unknown, use one of {', '.join(FORMATS)}")
        if path.exists():
            raise BagError(f"{path}: exists already; remove it or choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.store = typestore()
        self.messages = RosbagsMessages(self.store.types)
        self._writer = Writer(path, version=9, storage_plugin=FORMATS[storage])
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, msgtype: str, log_ns: int, message: Any) -> None:
        """Add a message made by `messages`."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, msgtype, typestore=self.store
            )
        data = self.store.serialize_cdr(message, msgtype)
        self._writer.write(self._connections[topic], log_ns, data)

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)
