# SPDX-License-Identifier: Apache-2.0
"""The command `nemo`: finds its subcommands among the installed entry points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from nemo_model.errors import NemoError

GROUP = "nemo.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; 2 for anything the user can put right."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = {point.name: point for point in entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(
        prog="nemo", description="Object pose by neural mesh models: use, measure, train."
    )
    # not "command": a subcommand may have an option of that name
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    wanted = arguments[0] if arguments and arguments[0] in known else None
    modules: dict[str, ModuleType] = {}
    for name in sorted(known) if wanted is None else [wanted]:  # imports are paid for when used
        try:
            modules[name] = import_module(known[name].value)
        except ImportError as error:
            if name == wanted:
                return _failed(name, error)
            commands.add_parser(name, help=f"not available ({error})".replace("%", "%%"))
            continue
        text = (modules[name].__doc__ or "").strip().partition("\n")[0].replace("%", "%%")
        modules[name].add_arguments(commands.add_parser(name, help=text, description=text))
    args = parser.parse_args(arguments)
    try:
        return int(modules[args.subcommand].run(args))
    except (NemoError, OSError) as error:
        return _failed(args.subcommand, error)
    except KeyboardInterrupt:
        print(f"nemo {args.subcommand}: interrupted", file=sys.stderr)
        return 130


def _failed(name: str, error: Exception) -> int:
    print(f"nemo {name}: error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
