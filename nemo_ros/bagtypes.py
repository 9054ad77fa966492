# SPDX-License-Identifier: Apache-2.0
"""Message definitions for bags: a ROS 2 type store that also knows vision_msgs."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)
from rosbags.typesys.store import Typestore

from nemo_model.errors import NemoError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DETECTIONS_2D = "vision_msgs/msg/Detection2DArray"
DETECTIONS_3D = "vision_msgs/msg/Detection3DArray"


def vision_msgs_folder() -> Path:
    """The folder with vision_msgs' .msg files: this checkout's, or an installation's.

    Raises:
        NemoError: naming the folders that were tried.
    """
    checkout = Path(__file__).resolve().parent.parent
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    tried = [checkout / "interfaces" / "vision_msgs" / "msg"]
    for prefix in [sys.prefix, *prefixes]:
        share = Path(prefix) / "share"
        tried.append(share / "nemo_ros" / "interfaces" / "vision_msgs" / "msg")
        tried.append(share / "vision_msgs" / "msg")
    for folder in tried:
        if (folder / "Detection3DArray.msg").is_file():
            return folder
    places = ", ".join(str(folder) for folder in tried)
    raise NemoError(f"vision_msgs: no .msg files found (looked in {places}); run `make setup`")


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """ROS 2 Jazzy's messages and vision_msgs. One store per process; do not register into it."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(vision_msgs_folder().glob("*.msg")):
        name = f"vision_msgs/msg/{path.stem}"
        if name not in store.types:
            store.register(get_types_from_msg(path.read_text(encoding="utf-8"), name))
    return store


def store_for(msgtype: str, definition: MessageDefinition) -> Typestore:
    """The type store that reads `msgtype` as it was written with this definition.

    A definition that says the same as ours (or is absent) gives the common store; another version
    of the message gets a store of its own.

    Raises:
        NemoError: when neither the definition nor the common store knows the type.
    """
    ours = typestore()
    if definition.format == MessageDefinitionFormat.NONE or not definition.data:
        if msgtype not in ours.fielddefs:
            raise NemoError(f"{msgtype}: no definition in the bag, and none is known here")
        return ours
    try:
        if definition.format == MessageDefinitionFormat.MSG:
            types = get_types_from_msg(definition.data, msgtype)
        else:
            types = {}
            rule = "=" * 80 + "\n"
            for part in definition.data.split(rule):
                types.update(
                    get_types_from_idl(part.split("\n", 1)[1] if part[:5] == "IDL: " else part)
                    if part.strip()
                    else {}
                )
        # ours[name][1]: the fields; constants do not change the bytes
        if all(
            ours.fielddefs.get(name, (None, None))[1] == fields[1] for name, fields in types.items()
        ):
            return ours
        store = get_typestore(Stores.EMPTY)
        store.register(types)
    except TypesysError as error:
        raise NemoError(f"{msgtype}: its definition in the bag cannot be read ({error})") from error
    return store
