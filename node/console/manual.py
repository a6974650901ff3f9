"""`swarmd man`: manual pages, made of the parser, so that they never lag behind it."""

from collections.abc import Sequence
from pathlib import Path

from swarmd.node.console.context import Context
from swarmd.node.console.described import Argument, Described, describe
from swarmd.node.console.outcome import MEANING, OK
from swarmd.node.console.output import clean
from swarmd.node.version import version
from swarmd.protocol.faults import LocalFault


def run_man(ctx: Context) -> int:
    pages = manual(list(describe(ctx.parser)))
    folder = Path(ctx.args.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise LocalFault("bad-file", f"{folder}: {error.strerror}", fix="choose another folder") from None
    if ctx.out.as_json:
        ctx.out.document({"folder": str(folder), "pages": sorted(pages)})
    else:
        ctx.out.note(f"wrote {len(pages)} pages to {clean(folder)}: man -l {clean(folder / 'swarmd.1')}")
    return OK


def manual(commands: Sequence[Described]) -> dict[str, str]:
    """File name -> roff. A page for each command: swarmd.1, swarmd-need.1, swarmd-need-post.1."""
    return {f"{_name(each.words)}.1": _page(each, commands) for each in commands}


def _name(words: Sequence[str]) -> str:
    return "-".join(("swarmd", *words))


def _page(command: Described, commands: Sequence[Described]) -> str:
    name = _name(command.words)
    lines = [
        f'.TH "{name.upper()}" "1" "" "swarmd {version()}" "swarmd"',
        '.\\" Made by `swarmd man` from the command line itself.',
        ".ad l",
        ".SH NAME",
        f"{_text(name)} \\- {_text(command.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        ".nf",
        *(_line(line.strip()) for line in command.usage.splitlines()),
        ".fi",
        ".SH DESCRIPTION",
        *(_line(line) for line in command.description.splitlines()),
    ]
    if command.commands:
        lines.append(".SH COMMANDS")
        for below, text in command.commands:
            lines += [".TP", f".BR {_text(_name((*command.words, below)))} (1)", _line(text)]
    lines += _arguments("ARGUMENTS", [each for each in command.arguments if not each.names])
    lines += _arguments("OPTIONS", [each for each in command.arguments if each.names])
    lines += _arguments("COMMON OPTIONS", command.common)
    lines += [".SH EXAMPLES", ".nf", *(_line(line) for line in command.examples), ".fi"]
    lines.append(".SH EXIT STATUS")
    for code, meaning in MEANING.items():
        lines += [".TP", f".B {code}", _line(meaning)]
    lines += [".SH FILES", ".TP", ".B $SWARMD_HOME", "The node's folder, unless --home names another."]
    lines += [".SH SEE ALSO", _see_also(command, commands)]
    return "\n".join(lines) + "\n"


def _arguments(heading: str, arguments: Sequence[Argument]) -> list[str]:
    lines = [f".SH {heading}"] if arguments else []
    for each in arguments:
        lines += [".TP", f"\\fB{_text(each.label)}\\fR", _line(each.help or "(see the example)")]
    return lines


def _see_also(command: Described, commands: Sequence[Described]) -> str:
    parent = command.words[:-1]
    others = [
        _name(each.words)
        for each in commands
        if each.words != command.words
        and (each.words == parent or (command.words and each.words[:-1] == parent))
    ]
    return ", ".join(f"\\fB{_text(other)}\\fR(1)" for other in others) or "docs/cli.md"


def _line(text: str) -> str:
    """A line of text: one that begins with a dot or a quote would be a request."""
    escaped = _text(text)
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    return escaped.replace("`", "\\(ga").replace("'", "\\(aq")
