# SPDX-License-Identifier: Apache-2.0
"""The command `nemo`: finds its commands, says what went wrong, and exits with 2 for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nemo_model import cli
from nemo_model.errors import NemoError

COMMANDS = {"train", "export", "evaluate", "occlude", "calibrate", "replay", "bag-from-frames"}


def registered(repository: Path) -> dict[str, str]:
    """The entry points that setup.py registers, whether this checkout is installed or not."""
    tree = ast.parse((repository / "setup.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [k.value if isinstance(k, ast.Constant) else None for k in node.keys]
            if cli.GROUP in keys:
                entries = ast.literal_eval(node.values[keys.index(cli.GROUP)])
                return dict(entry.split(" = ") for entry in entries)
    raise AssertionError(f"setup.py registers no {cli.GROUP}")


Install = Callable[[dict[str, str]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make `nemo` find these commands."""

    def put(commands: dict[str, str]) -> None:
        points = [EntryPoint(name, value, cli.GROUP) for name, value in commands.items()]
        monkeypatch.setattr(cli, "entry_points", lambda group: points if group == cli.GROUP else [])

    return put


@pytest.fixture
def nemo(repository: Path, install: Install) -> Callable[..., int]:
    """The commands of setup.py."""
    install(registered(repository))
    return lambda *arguments: cli.main([str(argument) for argument in arguments])


def fake(
    monkeypatch: pytest.MonkeyPatch, name: str, run: Callable[[Any], Any], doc: str | None
) -> str:
    """A module that serves as a command; returns its name."""
    module = ModuleType(name, doc)
    module.add_arguments = lambda parser: parser.add_argument("--command")  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    return name


def exits(nemo: Callable[..., int], *arguments: Any) -> int:
    """The exit status, by return or by argparse."""
    try:
        return nemo(*arguments)
    except SystemExit as end:
        return int(end.code or 0)


# --- finding commands


def test_all_commands_are_registered(repository: Path) -> None:
    assert set(registered(repository)) >= COMMANDS


def test_every_registered_command_can_be_run(repository: Path) -> None:
    for name, value in registered(repository).items():
        module = import_module(value)
        assert (module.__doc__ or "").strip(), f"{name} has no help"
        assert callable(module.add_arguments), name
        assert callable(module.run), name


def test_help_lists_the_commands_with_a_line_each(
    nemo: Callable[..., int], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits(nemo, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, value in registered(repository).items():
        assert name in text
        doc = (import_module(value).__doc__ or "").strip().splitlines()[0]
        assert " ".join(doc.split()) in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(
    nemo: Callable[..., int], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits(nemo, name, "--help") == 0
    assert f"nemo {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("train", "--nonsense")])
def test_wrong_usage_exits_with_2(
    nemo: Callable[..., int], arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits(nemo, *arguments) == 2
    assert "usage: nemo" in capsys.readouterr().err


def test_only_the_wanted_command_is_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install({"good": fake(monkeypatch, "good_command", lambda args: 0, "Good."), "bad": "nowhere"})
    assert cli.main(["good"]) == 0


def test_a_command_that_cannot_be_loaded_spoils_no_other(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = fake(monkeypatch, "good_command", lambda args: 0, "100 % good.\n\nMore.")
    install({"good": good, "bad": "nowhere_100%"})
    assert exits(cli.main, ["--help"]) == 0
    text = capsys.readouterr().out
    assert "100 % good." in text
    assert "not available" in text
    assert cli.main(["bad"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nemo bad: error: No module named")


def test_a_command_without_a_docstring_still_runs(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install({"quiet": fake(monkeypatch, "quiet_command", lambda args: 0, None)})
    assert cli.main(["quiet"]) == 0


def test_the_installed_command_finds_them() -> None:
    """Where the package is installed, as a process of its own."""
    installed = [point.name for point in entry_points(group=cli.GROUP)]
    if not installed:
        pytest.skip("the package is not installed: no entry points")
    done = subprocess.run(
        [sys.executable, "-m", "nemo_model.cli", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(name in done.stdout for name in installed)
    assert "not available" not in done.stdout


# --- running them


def run_fake(
    install: Install, monkeypatch: pytest.MonkeyPatch, run: Callable[[Any], Any], *more: str
) -> int:
    install({"do": fake(monkeypatch, "do_command", run, "Does it.")})
    return cli.main(["do", *more])


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_commands_status_is_returned(
    install: Install, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    assert run_fake(install, monkeypatch, lambda args: status) == status


def test_a_command_may_have_an_option_called_command(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `nemo export --command` has."""
    seen = []
    run_fake(install, monkeypatch, lambda args: seen.append(args.command) or 0, "--command", "x y")
    assert seen == ["x y"]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (NemoError("card.json: licence: is empty"), 2, "error: card.json: licence: is empty"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "Permission denied: '/x/y'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    def run(_: Any) -> int:
        raise error

    assert run_fake(install, monkeypatch, run) == status
    captured = capsys.readouterr()
    assert captured.err.startswith("nemo do: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_our_own_mistakes_are_not_hidden(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_fake(install, monkeypatch, lambda args: 1 // 0)


def test_the_arguments_of_the_process_are_the_default(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install({"do": fake(monkeypatch, "do_command", lambda args: 5, "Does it.")})
    monkeypatch.setattr(sys, "argv", ["nemo", "do"])
    assert cli.main() == 5


# --- the real commands on what is not there

EXPORT = (
    "--data", "d", "--licence", "l", "--command", "c", "--length-m", 4.5, "--length-sigma", 0.1,
    "--length-source", "s",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--root", "NONE", "--backgrounds", "NONE", "--out", "OUT"), "NONE"),
        (("export", "--checkpoint", "NONE", "--out", "OUT", *EXPORT), "NONE"),
        (("evaluate", "--model", "NONE", "--root", "NONE"), "NONE"),
        (("occlude", "--root", "NONE", "--occluders", "NONE", "--out", "OUT"), "NONE"),
        (("replay", "NONE", "--model", "NONE"), "NONE"),
    ],
)
def test_a_missing_folder_is_named_without_a_traceback(
    nemo: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[Any, ...],
    words: str,
) -> None:
    places = {"NONE": tmp_path / "none", "OUT": tmp_path / "out"}
    status = exits(nemo, *[places.get(argument, argument) for argument in arguments])
    error = capsys.readouterr().err
    assert status == 2, error
    assert str(places[words]) in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch", "not JSON"),
        ("batch=many", "not JSON"),
        ("batch=0", "batch"),
        ("steps=0", "steps"),
        ("warmth=3", "warmth"),
        ("augment.flips=1", "augment.flips"),
        ("category.x=1", "category has no fields"),
        ("width=200", "width"),
    ],
)
def test_a_wrong_training_setting_is_named(
    nemo: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    message: str,
) -> None:
    arguments = ("train", "--root", tmp_path, "--backgrounds", tmp_path, "--out", tmp_path / "o")
    assert nemo(*arguments, "--set", setting) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
