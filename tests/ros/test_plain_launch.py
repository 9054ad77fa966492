# SPDX-License-Identifier: Apache-2.0
"""The smallest launcher makes of pose.launch.py what the others make of it."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from nemo_ros import plain_launch
from nemo_ros.launching import environment, launch_command
from nemo_ros.plain_launch import PlainLaunchError, plan

ARGUMENTS = {
    "image": "/front/image_raw",
    "detections": "/boxes",
    "namespace": "left/nemo",
    "use_sim_time": "true",
    "log_level": "warn",
}


@pytest.fixture
def launch_file(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The launch file, in an environment without a DDS profile (other tests set one)."""
    for kind in ("FASTDDS", "FASTRTPS"):
        monkeypatch.delenv(f"{kind}_DEFAULT_PROFILES_FILE", raising=False)
    return repository / "launch" / "pose.launch.py"


def normal(command: list[str]) -> tuple[str, set[str], dict[str, object]]:
    """(executable, its remaps and log level, its parameters) of a node's command."""
    options, values = set(), {}
    for flag, value in pairwise(command):
        if flag in {"-r", "--remap", "--log-level"}:
            options.add(value)
        if flag == "--params-file":
            values |= yaml.safe_load(Path(value).read_text())["/**"]["ros__parameters"]
    return Path(command[0]).name, options, values


def test_plan_of_the_launch_file(launch_file: Path, tmp_path: Path) -> None:
    (command,), context = plan(launch_file, ARGUMENTS, tmp_path)
    name, options, values = normal(command)
    assert name == "pose_node"
    assert options == {
        "warn",
        "__node:=pose_node",
        "__ns:=/left/nemo",
        "image:=/front/image_raw",
        "camera_info:=/camera/camera_info",
        "detections:=/boxes",
    }
    assert values["use_sim_time"] is True
    assert values["autostart"] is True
    assert values["image_transport"] == "raw"
    assert str(values["model"]).endswith("share/nemo_ros/models/car")
    assert values["tracker"]["min_iou"] == 0.3, "the parameter file comes first"  # type: ignore[index]
    assert context.environment["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("fastdds.xml")


def test_own_dds_profile_is_kept(
    launch_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    _, context = plan(launch_file, {}, tmp_path)
    assert context.environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"


def test_same_as_play_launch(launch_file: Path, tmp_path: Path) -> None:
    """What play_launch would run, from its own dump of the launch file."""
    env = environment()
    command = launch_command("pose.launch.py", ARGUMENTS, env, tmp_path)
    if not command[0].endswith("play_launch"):
        pytest.skip(f"play_launch does not run here: {command[0]}")
    record = tmp_path / "record.json"
    given = [f"{name}:={value}" for name, value in ARGUMENTS.items()]
    done = subprocess.run(
        [command[0], "dump", "--output", str(record), "launch", str(launch_file), *given],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = yaml.safe_load(record.read_text())["structure"]["nodes"]
    ((full_name, node),) = nodes.items()
    (ours,), context = plan(launch_file, ARGUMENTS, tmp_path)
    name, options, values = normal(ours)
    assert name == node["exec"]
    remaps = {f"{one['from']}:={one['to']}" for one in node["remaps"]}
    namespace, _, node_name = full_name.rpartition("/")
    level = node["args"][node["args"].index("--log-level") + 1]
    assert options == remaps | {level, f"__ns:={namespace}", f"__node:={node_name}"}
    assert {name: values[name] for name in node["params"]} == node["params"]
    for variable in node["env"]:
        assert context.environment[variable["name"]] == variable["value"]


def test_unknown_argument_is_refused(launch_file: Path, tmp_path: Path) -> None:
    with pytest.raises(PlainLaunchError, match="no argument 'imgae'; there are: autostart"):
        plan(launch_file, {"imgae": "/x"}, tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("from launch.actions import TimerAction", "launch.actions.TimerAction is not known here"),
        ("import launch_ros.event_handlers", "event_handlers"),
    ],
)
def test_what_it_cannot_do_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "other.launch.py"
    path.write_text(text + "\n\n\ndef generate_launch_description():\n    pass\n")
    with pytest.raises((PlainLaunchError, ImportError), match=reason):
        plan(path, {}, tmp_path)


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain_launch.main(["x.launch.py", "image=/x"]) == 2
    assert "NAME:=VALUE" in capsys.readouterr().err
