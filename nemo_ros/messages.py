# SPDX-License-Identifier: Apache-2.0
"""Where message classes come from: rclpy in the live node, rosbags in replay.

A `Messages` makes a message by its ROS name and knows how the library wants bytes to be given.
It knows no field of any message; `nemo_ros.conversion` does.
"""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Messages(Protocol):
    """Makes messages of one library."""

    def make(self, name: str, /, **fields: Any) -> Any:
        """A message of type ``name`` ("vision_msgs/msg/Detection3DArray"); give every field."""
        ...

    def byte(self, value: int) -> Any:
        """A single ``byte`` field."""
        ...

    def data(self, values: NDArray[np.uint8]) -> Any:
        """A ``uint8[]`` field."""
        ...

    def floats(self, values: NDArray[np.float64]) -> Any:
        """A ``float64[]`` field (of no fixed length)."""
        ...


class RclpyMessages:
    """Messages of a ROS 2 installation, imported when first asked for."""

    def __init__(self) -> None:
        self._classes: dict[str, Any] = {}

    def type(self, name: str) -> Any:
        """The class of a message type, e.g. for create_publisher."""
        if name not in self._classes:
            package, kind, message = name.split("/")
            self._classes[name] = getattr(importlib.import_module(f"{package}.{kind}"), message)
        return self._classes[name]

    def make(self, name: str, /, **fields: Any) -> Any:
        return self.type(name)(**fields)

    def byte(self, value: int) -> bytes:
        return bytes([value])

    def data(self, values: NDArray[np.uint8]) -> array[int]:
        # array('B') is taken as it is; an ndarray or a list is checked value by value (400 ms)
        return array("B", np.ascontiguousarray(values).tobytes())

    def floats(self, values: NDArray[np.float64]) -> array[float]:
        return array("d", values.tolist())


class RosbagsMessages:
    """Messages of a rosbags type store (its ``types`` mapping)."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = types

    def make(self, name: str, /, **fields: Any) -> Any:
        return self._types[name](**fields)

    def byte(self, value: int) -> int:
        return value

    def data(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(values).reshape(-1)

    def floats(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values, dtype=np.float64)
