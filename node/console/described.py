"""The command line as data, read from the parser itself: what man pages and the reference are made of."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Argument:
    """`names`: flags, or nothing for a positional; `value` as usage shows it, "" for a switch."""

    names: tuple[str, ...]
    value: str
    help: str
    required: bool

    @property
    def label(self) -> str:
        if not self.names:
            return self.value
        return ", ".join(self.names) + (f" {self.value}" if self.value else "")


@dataclass(frozen=True, slots=True)
class Described:
    """A command: the words that lead to it, its description (a line, then more), usage, arguments and examples."""

    words: tuple[str, ...]
    summary: str
    description: str
    usage: str
    arguments: tuple[Argument, ...]
    common: tuple[Argument, ...]
    examples: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]


_COMMON = ("--home", "--json", "--quiet", "--no-color")


def describe(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = (), summary: str = ""
) -> Iterator[Described]:
    """Every command of `parser`, outer ones first."""
    if complete := getattr(parser, "complete", None):
        complete()
    arguments: list[Argument] = []
    common: list[Argument] = []
    below: list[tuple[str, str, argparse.ArgumentParser]] = []
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            below = [(name, helps.get(name, ""), sub) for name, sub in action.choices.items()]
        elif action.dest != "help":
            (common if set(_COMMON) & set(action.option_strings) else arguments).append(_argument(action))
    usage = parser.format_usage().removeprefix("usage: ").strip()
    body, _, epilog = (parser.description or "").strip(), None, (parser.epilog or "").strip()
    examples = tuple(
        line.strip() for line in epilog.removeprefix("example:").split("\n\n")[0].splitlines() if line.strip()
    )
    commands = tuple((name, text) for name, text, _ in below)
    yield Described(words, summary or body, body, usage, tuple(arguments), tuple(common), examples, commands)
    for name, text, sub in below:
        yield from describe(sub, (*words, name), text)


def _argument(action: argparse.Action) -> Argument:
    value = ""
    if action.nargs != 0:
        if isinstance(action.metavar, str):
            value = action.metavar
        elif action.choices is not None:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        else:
            value = action.dest.upper() if action.option_strings else action.dest
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return Argument(tuple(action.option_strings), value, text, action.required)
