"""Completion scripts for bash, zsh and fish, made from the parser itself so that they never lag behind it."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK


@dataclass(frozen=True, slots=True)
class Node:
    """A command: the words that lead to it, its subcommands with their help, its flags with their help."""

    words: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    flags: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]


def walk(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Node]:
    """Every command of `parser`, outer ones first."""
    if complete := getattr(parser, "complete", None):
        complete()
    flags: list[tuple[str, str]] = []
    choices: list[str] = []
    below: list[tuple[str, str, argparse.ArgumentParser]] = []
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            below = [(name, helps.get(name, ""), sub) for name, sub in action.choices.items()]
        elif action.option_strings:
            flags += [(flag, action.help or "") for flag in action.option_strings if flag.startswith("--")]
        elif action.choices:
            choices += map(str, action.choices)
    commands = tuple((name, text) for name, text, _ in below)
    yield Node(words, commands, tuple(flags), tuple(choices))
    for name, _, sub in below:
        yield from walk(sub, (*words, name))


def run_completion(ctx: Context) -> int:
    text = SHELLS[ctx.args.shell](list(walk(ctx.parser)))
    if ctx.out.as_json:
        ctx.out.document({"shell": ctx.args.shell, "script": text})
    else:
        ctx.out.line(text)
    return OK


def _offers(node: Node) -> str:
    words = [name for name, _ in node.commands] + list(node.choices) + [flag for flag, _ in node.flags]
    return " ".join(words)


def bash(nodes: list[Node]) -> str:
    """Finds the command from the words typed so far, offers its subcommands and flags, else files."""
    cases = "\n".join(f'    "{" ".join(node.words)}") offers="{_offers(node)}" ;;' for node in nodes)
    known = "|".join(f'"{" ".join(node.words)}"' for node in nodes if node.words)
    return f"""\
# swarmd completion for bash. Use: source <(swarmd completion bash)
_swarmd() {{
  local word path="" try offers=""
  local current="${{COMP_WORDS[COMP_CWORD]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    try="${{path:+$path }}$word"
    case "$try" in {known}) path="$try" ;; esac
  done
  case "$path" in
{cases}
  esac
  if [[ $current == -* || -n $offers ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$offers" -- "$current")
  fi
  if [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -o filenames -F _swarmd swarmd"""


def zsh(nodes: list[Node]) -> str:
    """As for bash, with the help texts beside the words."""
    cases = "\n".join(
        f'    "{" ".join(node.words)}") offers=({" ".join(_zsh_offer(*pair) for pair in _described(node))}) ;;'
        for node in nodes
    )
    known = "|".join(f'"{" ".join(node.words)}"' for node in nodes if node.words)
    return f"""\
#compdef swarmd
# swarmd completion for zsh. Use: source <(swarmd completion zsh)
_swarmd() {{
  local word way="" attempt
  local -a offers
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    attempt="${{way:+$way }}$word"
    case "$attempt" in ({known}) way="$attempt" ;; esac
  done
  case "$way" in
{cases}
  esac
  _describe -t commands 'swarmd' offers || _files
}}
compdef _swarmd swarmd"""


def fish(nodes: list[Node]) -> str:
    lines = [
        "# swarmd completion for fish. Use: swarmd completion fish | source",
        "function __swarmd_at",
        "  set -l way ''",
        "  for word in (commandline -opc)[2..-1]",
        '    set -l attempt (string trim -- "$way $word")',
        '    contains -- "$attempt" $__swarmd_paths; and set way $attempt',
        "  end",
        '  test "$way" = "$argv"',
        "end",
        "set -g __swarmd_paths " + " ".join(f"'{' '.join(node.words)}'" for node in nodes if node.words),
    ]
    for node in nodes:
        at = f"-n '__swarmd_at {' '.join(node.words)}'"
        for name, text in node.commands:
            lines.append(f"complete -c swarmd -f {at} -a {name} -d {_quoted(text)}")
        for choice in node.choices:
            lines.append(f"complete -c swarmd -f {at} -a {choice}")
        for flag, text in node.flags:
            lines.append(f"complete -c swarmd {at} -l {flag.removeprefix('--')} -d {_quoted(text)}")
    return "\n".join(lines)


def _described(node: Node) -> Iterator[tuple[str, str]]:
    yield from node.commands
    yield from ((choice, "") for choice in node.choices)
    yield from node.flags


def _quoted(text: str) -> str:
    """For fish: within single quotes only the quote and the backslash are special."""
    return "'" + text.replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'") + "'"


def _zsh_offer(word: str, text: str) -> str:
    """`'word:help'`: a colon divides, a quote is closed, written and opened again."""
    body = f"{word}:{text.replace('%%', '%').replace(':', chr(92) + ':')}" if text else word
    return "'" + body.replace("'", "'\\''") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
