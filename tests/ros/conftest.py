# SPDX-License-Identifier: Apache-2.0
"""A domain of its own for every test session, and a rig that talks to the launched node."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: call make setup")

from ros_rig import Rig

from nemo_ros.launching import dds_environment


@pytest.fixture(scope="session")
def ros_environment() -> Iterator[dict[str, str]]:
    """Environment of every ROS process of this session: own domain, this machine only."""
    env = {
        "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        **dds_environment(),
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield env


@pytest.fixture(scope="session")
def model(repository: Path) -> Path:
    """The shipped car bundle."""
    folder = repository / "models" / "car"
    if not (folder / "card.json").is_file():
        pytest.fail(f"{folder} is part of the repository and is missing")
    return folder


@pytest.fixture(scope="module")
def rig(ros_environment: dict[str, str]) -> Iterator[Rig]:
    """Publishers and subscribers in this process; the node runs in another one."""
    made = Rig()
    try:
        yield made
    finally:
        made.close()
