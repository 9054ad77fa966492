# SPDX-License-Identifier: Apache-2.0
"""Messages out of a bag file that rosbags refuses: cut off, without index, or with a bad page.

Reads forward from the beginning, in the order of recording, until nothing more can be read. An
MCAP file is a list of records (opcode, length, content; https://mcap.dev/spec); its index at the
end, which a cut off file lacks, is not needed for that. A cut off sqlite3 file is opened with the
check of its length switched off, and its rows are read until a page is missing; where a page is
cut itself, on a copy without it.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from lz4.frame import decompress as lz4_decompress
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

if sys.version_info >= (3, 14):
    from compression.zstd import decompress as zstd_decompress
else:
    from backports.zstd import decompress as zstd_decompress

_MAGIC = b"\x89MCAP0\r\n"
_FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}
_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "lz4": lz4_decompress,
    "zstd": zstd_decompress,
}


@dataclass(frozen=True)
class Channel:
    """A topic as the file declares it."""

    topic: str
    msgtype: str
    definition: MessageDefinition


@dataclass
class Salvage:
    """What is left of a file. `loss` says what ended the reading; "" when its end was reached."""

    path: Path
    channels: dict[int, Channel] = field(default_factory=dict)
    loss: str = ""

    def messages(self) -> Iterator[tuple[Channel, int, bytes]]:
        """Channel, time of recording in nanoseconds and CDR bytes, in the order of the file.

        Never raises for damage; read `loss` afterwards.
        """
        self.channels.clear()
        self.loss = ""
        if self.path.suffix == ".mcap":
            yield from self._mcap()
        elif self.path.suffix == ".db3":
            yield from self._sqlite3()
        else:
            self.loss = f"files of the kind {self.path.suffix!r} cannot be read when damaged"

    # -- MCAP -----------------------------------------------------------------------------------

    def _mcap(self) -> Iterator[tuple[Channel, int, bytes]]:
        try:
            with self.path.open("rb") as file:
                if file.read(len(_MAGIC)) != _MAGIC:
                    self.loss = "it does not begin as an MCAP file"
                    return
                schemas: dict[int, tuple[str, MessageDefinition]] = {}
                yield from self._records(file, schemas)
        except OSError as error:
            self.loss = f"the disk refused it: {error.strerror}"

    def _records(
        self, file: BinaryIO, schemas: dict[int, tuple[str, MessageDefinition]]
    ) -> Iterator[tuple[Channel, int, bytes]]:
        while not self.loss:
            start = file.tell()
            head = file.read(9)
            if not head and isinstance(file, BytesIO):
                return  # the end of a chunk
            if len(head) < 9:
                self.loss = f"cut off at byte {start}, in the head of a record"
                return
            opcode, length = struct.unpack("<BQ", head)
            if opcode == 0x02:
                return  # the footer: the file is whole
            content = file.read(length) if opcode in (3, 4, 5, 6) else b""
            if opcode not in (3, 4, 5, 6):
                file.seek(length, 1)
            elif len(content) < length and opcode != 6:
                self.loss = f"cut off at byte {start}, in a record of {length} bytes"
                return
            try:
                if opcode == 3:
                    number, rest = content[:2], BytesIO(content[2:])
                    name, encoding, text = _text(rest), _text(rest), _text(rest)
                    kind = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
                    schemas[struct.unpack("<H", number)[0]] = (name, MessageDefinition(kind, text))
                elif opcode == 4:
                    key, schema = struct.unpack("<HH", content[:4])
                    unknown = ("", MessageDefinition(MessageDefinitionFormat.NONE, ""))
                    name, definition = schemas.get(schema, unknown)
                    self.channels[key] = Channel(_text(BytesIO(content[4:])), name, definition)
                elif opcode == 5:
                    key, _, stamp, _ = struct.unpack("<HIQQ", content[:22])
                    if key in self.channels:
                        yield self.channels[key], stamp, content[22:]
                elif opcode == 6:
                    yield from self._chunk(content, length, start, schemas)
            except (struct.error, UnicodeDecodeError) as error:
                self.loss = f"unreadable record at byte {start} ({error})"

    def _chunk(
        self,
        content: bytes,
        length: int,
        start: int,
        schemas: dict[int, tuple[str, MessageDefinition]],
    ) -> Iterator[tuple[Channel, int, bytes]]:
        """The records within a chunk; of a cut off one as many as are there, if not compressed."""
        (name_length,) = struct.unpack("<I", content[28:32])
        compression = content[32 : 32 + name_length].decode()
        data = content[40 + name_length :]
        whole = len(content) == length
        if not whole and compression:
            self.loss = f"cut off at byte {start}, in a compressed chunk of {length} bytes"
            return
        try:
            raw = _DECOMPRESS[compression](data)
        except KeyError:
            self.loss = f"unknown compression {compression!r} at byte {start}"
            return
        except Exception as error:  # each library has its own
            self.loss = f"damaged chunk at byte {start} ({error})"
            return
        yield from self._records(BytesIO(raw), schemas)
        if not whole:
            self.loss = f"cut off at byte {start}, in a chunk of {length} bytes"

    # -- sqlite3 --------------------------------------------------------------------------------

    def _sqlite3(self) -> Iterator[tuple[Channel, int, bytes]]:
        try:
            with _whole_pages(self.path) as path:
                yield from self._rows(path)
        except OSError as error:
            self.loss = f"the disk refused it: {error.strerror}"

    def _rows(self, path: Path) -> Iterator[tuple[Channel, int, bytes]]:
        read = 0
        try:
            # immutable: no lock, no journal; writable_schema: a file shorter than its head says
            link = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)
        except sqlite3.Error as error:
            self.loss = f"sqlite3: {error}"
            return
        try:
            link.execute("PRAGMA writable_schema=ON")
            definitions = self._definitions(link)
            for number, topic, msgtype in link.execute("SELECT id, name, type FROM topics"):
                empty = MessageDefinition(MessageDefinitionFormat.NONE, "")
                self.channels[number] = Channel(topic, msgtype, definitions.get(msgtype, empty))
            rows = link.execute("SELECT topic_id, timestamp, data FROM messages NOT INDEXED")
            for number, stamp, data in rows:
                read += 1
                if number in self.channels:
                    yield self.channels[number], stamp, data
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.loss = f"sqlite3 after {read} messages: {error}"
        finally:
            link.close()

    def _definitions(self, link: sqlite3.Connection) -> dict[str, MessageDefinition]:
        """Definitions of the types; bags of Humble and older have none."""
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        try:
            rows = link.execute(query).fetchall()
        except sqlite3.OperationalError:
            return {}
        return {
            name: MessageDefinition(_FORMATS.get(encoding, MessageDefinitionFormat.NONE), text)
            for name, encoding, text in rows
        }


def _text(file: BytesIO) -> str:
    (length,) = struct.unpack("<I", file.read(4))
    return file.read(length).decode()


@contextmanager
def _whole_pages(path: Path) -> Iterator[Path]:
    """The file itself, or a copy without its last page where that is cut.

    sqlite3 fills a cut page with zeros without a word, and messages would end in zeros.
    """
    with path.open("rb") as file:
        head = file.read(18)
    page = struct.unpack(">H", head[16:18])[0] if len(head) == 18 else 0
    page = 65536 if page == 1 else page
    rest = path.stat().st_size % page if page else 0
    if not rest:
        yield path
        return
    with TemporaryDirectory(prefix="nemo_bag_") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        with copy.open("r+b") as file:
            file.truncate(path.stat().st_size - rest)
        yield copy
