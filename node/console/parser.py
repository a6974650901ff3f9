"""The argument parser's parts: faults instead of exits, flags that may stand anywhere, commands that load late."""

import argparse
import difflib
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from swarmd.node.console.outcome import UsageFault

CONSOLE = "swarmd.node.console."


class Parser(argparse.ArgumentParser):
    """Errors are faults, so that --json has them too; help keeps its line breaks.

    `fill`, if set, adds the arguments of a command when they are first needed: its module may be slow to load.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        self.fill: Callable[[argparse.ArgumentParser], None] | None = None

    def complete(self) -> None:
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.complete()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageFault(message, fix=f"see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            near = difflib.get_close_matches(str(value), names, 1)
            what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            fix = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
            raise UsageFault(f"{self.prog}: no {what} {value!r}", fix=fix)


def common_flags() -> Parser:
    """The flags that go before and after the command. SUPPRESS: an absent one leaves what the other place said."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("for every command")
    group.add_argument(
        "--home", metavar="DIR", help="the node's folder (else SWARMD_HOME, else the user's data folder)"
    )
    group.add_argument("--json", action="store_true", help="one JSON document instead of text")
    group.add_argument("-q", "--quiet", action="store_true", help="only ids and results")
    group.add_argument("--no-color", action="store_true", help="no colours (also NO_COLOR)")
    return common


class Commands:
    """Adds commands below one another, each with a description and an example."""

    def __init__(self, parent: Parser, common: Parser, *, required: bool = True) -> None:
        self.parent = parent
        self._common = common
        self._below = parent.add_subparsers(metavar="COMMAND", required=required, parser_class=Parser)

    def add(self, name: str, run: str, text: str, example: str, more: str = "") -> Parser:
        parser: Parser = self._below.add_parser(
            name,
            help=text,
            description=textwrap.fill(f"{text[0].upper()}{text[1:]}.{' ' + more if more else ''}", 100),
            epilog=f"example:\n  {example}",
            parents=[self._common],
        )
        parser.set_defaults(run=run, command_name=_name(parser))
        return parser

    def group(self, name: str, text: str, example: str, run: str = "") -> "Commands":
        """Commands below `name`; `run` is what `name` does alone, if anything."""
        parser = self._below.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example:\n  {example}",
            parents=[self._common],
        )
        if run:
            parser.set_defaults(run=run, command_name=_name(parser))
        return Commands(parser, self._common, required=not run)


def _name(parser: argparse.ArgumentParser) -> str:
    """`need list`: the words that lead to a command."""
    return parser.prog.partition(" ")[2]


def later(target: str) -> Callable[[argparse.ArgumentParser], None]:
    """`load(target)`, when the arguments of the command are needed."""
    return lambda parser: load(target)(parser)


def load(target: str) -> Any:
    """What `module:name` names; a module is one of the console unless it says swarmd.something."""
    module, _, name = target.partition(":")
    return getattr(import_module(module if module.startswith("swarmd.") else CONSOLE + module), name)
