"""The argument parser's parts: faults instead of exits, flags that may stand anywhere, commands that load late."""

import argparse
import difflib
import re
import textwrap
from collections.abc import Callable, Sequence
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

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, left = self.parse_known_args(args, namespace)
        if left:
            getattr(found, "chosen", self).refuse(left)
        return found

    def check_first_flags(self, words: Sequence[str]) -> None:
        """UsageFault for a misspelt flag before the command, whose value would be taken for the command."""
        rest = iter(words)
        for word in rest:
            name, equals, _ = word.partition("=")
            if not word.startswith("-"):
                return
            if name not in self._option_string_actions:
                self.refuse([word])
            if self._option_string_actions[name].nargs is None and not equals:
                next(rest, None)

    def refuse(self, left: list[str]) -> NoReturn:
        """What the command does not take: a misspelt flag, or words too many."""
        flags = [word.partition("=")[0] for word in left if word.startswith("-")]
        if not flags:
            raise UsageFault(f"{self.prog}: too many words: {' '.join(left)}", fix=self._help())
        near = difflib.get_close_matches(flags[0], self._option_string_actions, 1)
        fix = f"did you mean {near[0]}?" if near else self._help()
        raise UsageFault(f"{self.prog}: no flag {flags[0]}", fix=fix)

    def _help(self) -> str:
        return f"see {self.prog} --help"

    def error(self, message: str) -> NoReturn:
        message = _BAD_VALUE.sub(lambda found: _bad_value(*found.groups()), message)
        if message.startswith("the following arguments are required: "):
            raise self._lacks(message.partition(": ")[2])
        raise UsageFault(f"{self.prog}: {message}", fix=self._help())

    def _lacks(self, what: str) -> UsageFault:
        below = next((a for a in self._actions if isinstance(a, argparse._SubParsersAction)), None)
        if below is not None and what == below.metavar:
            fix = f"one of: {', '.join(below.choices)}; {self._help()}"
            return UsageFault(f"{self.prog}: which COMMAND?", fix=fix)
        example = (self.epilog or "").partition("example:\n  ")[2].partition("\n")[0]
        fix = f"such as: {example} ({self.prog} --help)" if example else self._help()
        return UsageFault(f"{self.prog}: it needs {what}", fix=fix)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            near = difflib.get_close_matches(str(value), names, 1)
            what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
            fix = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
            if not near and len(names) > _MANY:
                fix = f"{self._help()} for all {len(names)}"
            raise UsageFault(f"{self.prog}: no {what} {value!r}", fix=fix)


# As argparse says it, by the name of the function that reads the value.
_BAD_VALUE = re.compile(r"invalid (\w+) value: (.*)", re.S)
_MEANT = {
    "int": "a whole number",
    "positive": "a whole number from 1",
    "count": "a whole number from 0",
    "float": "a number",
    "seconds": "a time in seconds",
    "_score": "a score from 0 to 100",
}
_MANY = 16  # names are more than a fix can list


def _bad_value(kind: str, value: str) -> str:
    return f"{value} is not {_MEANT[kind]}" if kind in _MEANT else f"it cannot be {value}"


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
        parser.set_defaults(run=run, command_name=_name(parser), chosen=parser)
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
            parser.set_defaults(run=run, command_name=_name(parser), chosen=parser)
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
