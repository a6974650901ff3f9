"""Completion scripts for bash, zsh and fish, made from the parser itself so that they never lag behind it.

Ids come from the daemon, by `swarmd ids`: quickly, or not at all.
"""

import argparse
from collections.abc import Iterator, Mapping
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
    ids: str = ""  # of what kind its argument is, as `swarmd ids` names it
    flag_ids: tuple[tuple[str, str], ...] = ()  # flag -> of what kind its value is


# Name of an argument -> of what kind it is, in whatever command that has it.
_IDS: Mapping[str, str] = {
    "need": "needs",
    "escrow": "escrows",
    "peer": "peers",
    "entry": "peers",
    "channel": "channels",
    "token": "tokens",
    "content": "pins",
    **dict.fromkeys(("did", "dids", "who", "seller", "scorer", "panel", "against"), "dids"),
}
# The same, where the name alone does not tell.
_IDS_OF: Mapping[str, str] = {
    **{f"agent {verb} name": "agents" for verb in ("rm", "on", "off", "stderr")},
    **{f"policy capsule {verb} cid": "capsules" for verb in ("fetch", "activate")},
    "need post capability": "capabilities",
    **{f"checkpoint {verb} epoch": "epochs" for verb in ("show", "export")},
    "transfer to": "dids",
}


def _kind(words: tuple[str, ...], dest: str) -> str:
    return _IDS_OF.get(" ".join((*words, dest)), _IDS.get(dest, ""))


def walk(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Node]:
    """Every command of `parser`, outer ones first."""
    if complete := getattr(parser, "complete", None):
        complete()
    flags: list[tuple[str, str]] = []
    choices: list[str] = []
    below: list[tuple[str, str, argparse.ArgumentParser]] = []
    ids, flag_ids = "", []
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            below = [(name, helps.get(name, ""), sub) for name, sub in action.choices.items()]
        elif action.option_strings:
            own = [flag for flag in action.option_strings if flag.startswith("--")]
            flags += [(flag, action.help or "") for flag in own]
            flag_ids += [(flag, kind) for flag in own if (kind := _kind(words, action.dest))]
        elif action.choices:
            choices += map(str, action.choices)
        else:
            ids = ids or _kind(words, action.dest)
    commands = tuple((name, text) for name, text, _ in below)
    yield Node(words, commands, tuple(flags), tuple(choices), ids, tuple(flag_ids))
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
    """Finds the command from the words typed so far, offers its subcommands and flags, ids, else files."""
    cases = "\n".join(
        f'    "{" ".join(node.words)}") offers="{_offers(node)}"{f" ids={node.ids}" if node.ids else ""} ;;'
        for node in nodes
    )
    known = "|".join(f'"{" ".join(node.words)}"' for node in nodes if node.words)
    return f"""\
# swarmd completion for bash. Use: source <(swarmd completion bash)
_swarmd() {{
  local word path="" try offers="" ids="" at current previous
  local -a home=() typed=("${{COMP_WORDS[@]:0:COMP_CWORD+1}}")
  # bash divides words at colons, too: did:key:z6Mk...
  if [[ -n ${{COMP_LINE-}} ]]; then
    read -ra typed <<< "${{COMP_LINE:0:COMP_POINT}}"
    [[ ${{COMP_LINE:0:COMP_POINT}} == *[[:space:]] ]] && typed+=("")
  fi
  current="${{typed[-1]}}" previous="${{typed[-2]}}"
  for word in "${{typed[@]:1:${{#typed[@]}}-2}}"; do
    try="${{path:+$path }}$word"
    case "$try" in {known}) path="$try" ;; esac
  done
  case "$path" in
{cases}
  esac
  case "$path $previous" in
{_flag_cases(nodes)}
  esac
  COMPREPLY=()
  if [[ -n $ids && $current != -* ]]; then
    for ((at = 1; at + 2 < ${{#typed[@]}}; at++)); do
      [[ ${{typed[at]}} == --home ]] && home=(--home "${{typed[at+1]/#\\~/$HOME}}")
    done
    mapfile -t COMPREPLY < <(compgen -W "$("${{typed[0]}}" ids "$ids" -q "${{home[@]}}" 2>/dev/null)" -- "$current")
    # What it replaces is only what follows the last colon.
    [[ $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${{COMPREPLY[@]#"${{current%"${{current##*:}}"}}"}}")
  fi
  if [[ ${{#COMPREPLY[@]}} -eq 0 && ( $current == -* || -n $offers ) ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$offers" -- "$current")
  fi
  if [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -o filenames -F _swarmd swarmd"""


def _flag_cases(nodes: list[Node], offers: str = 'offers=""') -> str:
    return "\n".join(
        f'    "{" ".join(node.words)} {flag}") {offers} ids={kind} ;;'
        for node in nodes
        for flag, kind in node.flag_ids
    )


def zsh(nodes: list[Node]) -> str:
    """As for bash, with the help texts beside the words."""
    cases = "\n".join(
        f'    "{" ".join(node.words)}") offers=({" ".join(_zsh_offer(*pair) for pair in _described(node))})'
        f"{f' ids={node.ids}' if node.ids else ''} ;;"
        for node in nodes
    )
    known = "|".join(f'"{" ".join(node.words)}"' for node in nodes if node.words)
    return f"""\
#compdef swarmd
# swarmd completion for zsh. Use: source <(swarmd completion zsh)
_swarmd() {{
  local word way="" attempt ids="" line at
  local -a offers home
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    attempt="${{way:+$way }}$word"
    case "$attempt" in ({known}) way="$attempt" ;; esac
  done
  case "$way" in
{cases}
  esac
  case "$way ${{words[CURRENT-1]}}" in
{_flag_cases(nodes, "offers=()")}
  esac
  if [[ -n $ids && ${{words[CURRENT]}} != -* ]]; then
    at=${{words[(I)--home]}}
    (( at && at + 1 < CURRENT )) && home=(--home "${{words[at+1]/#\\~/$HOME}}")
    for line in "${{(@f)$(${{words[1]}} ids $ids $home 2>/dev/null)}}"; do
      [[ -n $line ]] && offers=("${{${{line%%$'\t'*}}//:/\\:}}:${{line#*$'\t'}}" $offers)
    done
  fi
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
        "function __swarmd_ids",
        "  set -l typed (commandline -opc)",
        "  type -q -- $typed[1]; and not string match -q -- '-*' (commandline -ct); or return",
        "  set -l home",
        "  if set -l at (contains -i -- --home $typed)",
        "    set home --home (string replace -r '^~' $HOME -- $typed[(math $at + 1)])",
        "  end",
        "  command $typed[1] ids $argv $home 2>/dev/null",
        "end",
        "set -g __swarmd_paths " + " ".join(f"'{' '.join(node.words)}'" for node in nodes if node.words),
    ]
    for node in nodes:
        at = f"-n '__swarmd_at {' '.join(node.words)}'"
        for name, text in node.commands:
            lines.append(f"complete -c swarmd -f {at} -a {name} -d {_quoted(text)}")
        for choice in node.choices:
            lines.append(f"complete -c swarmd -f {at} -a {choice}")
        if node.ids:
            lines.append(f"complete -c swarmd -f {at} -a '(__swarmd_ids {node.ids})'")
        kinds = dict(node.flag_ids)
        for flag, text in node.flags:
            value = f" -x -a '(__swarmd_ids {kinds[flag]})'" if flag in kinds else ""
            lines.append(f"complete -c swarmd {at} -l {flag.removeprefix('--')} -d {_quoted(text)}{value}")
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
