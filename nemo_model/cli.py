# SPDX-License-Identifier: Apache-2.0
"""The command `nemo`: finds its subcommands among the installed entry points."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from nemo_model.errors import NemoError

GROUP = "nemo.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status; 2 for anything the user can put right."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = {point.name: point for point in entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(prog="nemo", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = arguments[0] if arguments and arguments[0] in known else None
    modules: dict[str, ModuleType] = {}
    for name in sorted(known):
        if wanted is not None and name != wanted:
            continue  # a command's imports are paid for by that command alone
        modules[name] = _module(known[name])
        text = (modules[name].__doc__ or "").strip().splitlines()[0]
        modules[name].add_arguments(commands.add_parser(name, help=text, description=text))
    args = parser.parse_args(arguments)
    try:
        return int(modules[args.command].run(args))
    except NemoError as error:
        print(f"nemo {args.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"nemo {args.command}: interrupted", file=sys.stderr)
        return 130


def _module(point: EntryPoint) -> ModuleType:
    return import_module(point.value)


if __name__ == "__main__":
    sys.exit(main())
