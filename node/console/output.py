"""What a command writes: tables and lines for people, or one JSON document for programs.

Titles, reasons and results come from peers, so nothing of them reaches a terminal as a control sequence, and
no text is ever read as markup.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from swarmd.node.console.outcome import PAGES, fix_of
from swarmd.protocol.faults import Fault

if TYPE_CHECKING:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

# state or mark -> style
STYLES: Mapping[str, str] = {
    "FINALIZED": "green",
    "REFUNDED": "yellow",
    "EXPIRED": "yellow",
    "CLAIMED": "cyan",
    "COMMITTED": "cyan",
    "DECIDED": "cyan",
}


def clean(value: object) -> str:
    """One line of printable text: control characters, escapes and bidi marks are shown, not obeyed."""
    text = value if isinstance(value, str) else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short_did(did: str) -> str:
    """A DID as people tell them apart: `z6Mkf5…9Qa2`."""
    body = clean(did).removeprefix("did:key:")
    return body if len(body) <= 13 else f"{body[:6]}…{body[-5:]}"


def plain(value: Any) -> Any:
    """`value` as JSON can have it: bytes become hex."""
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"no JSON for {type(value).__name__}")


class Output:
    """`json`: documents instead of text. `quiet`: only ids and results."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        color: bool = True,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.as_json = as_json
        self.command = ""  # whose documents it writes, such as "need list": each has its schema (documents/)
        self.quiet = quiet
        self.color = color and "NO_COLOR" not in os.environ
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err

    @property
    def live(self) -> bool:
        """May the screen be redrawn? Only for a person at a terminal."""
        return not self.as_json and not self.quiet and self._out.isatty()

    @cached_property
    def console(self) -> "Console":
        from rich.console import Console

        # Piped tables must not be folded at 80 columns: who pipes them reads whole ids.
        width = None if self._out.isatty() or "COLUMNS" in os.environ else 200
        return Console(
            file=self._out,
            no_color=not self.color,
            color_system="auto" if self.color else None,
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def document(self, value: Any) -> None:
        """One JSON document: on one line, or indented for a terminal."""
        tty = self._out.isatty()
        # On a terminal, C1 controls and bidi marks must not get through either.
        text = json.dumps(value, ensure_ascii=tty, indent=2 if tty else None, default=plain)
        print(text, file=self._out, flush=True)

    def line(self, text: str, style: str = "") -> None:
        """A line that also a quiet user asked for."""
        if style and self.color and self._out.isatty():
            self.console.print(text, style=style, soft_wrap=True)
        else:
            print(text, file=self._out, flush=True)

    def note(self, text: str, style: str = "") -> None:
        """A line for people, left out by --quiet."""
        if not self.quiet:
            self.line(text, style)

    def progress(self, text: str) -> None:
        """A passing remark on stderr, so that it never gets into what is piped."""
        if not self.quiet and not self.as_json:
            print(clean(text), file=self._err, flush=True)

    def print(self, *what: Any) -> None:
        """Tables and styled text, "none" for a table without rows. Piped, without the blanks that pad its lines."""
        what = tuple("none" if empty(each) else each for each in what)
        if self._out.isatty():
            for each in what or ("",):
                rows = stacked(each, self.console.width)
                for row in [each] if rows is None else rows:
                    self.console.print(row)
            return
        with self.console.capture() as captured:
            self.console.print(*what)
        for line in captured.get().splitlines():
            print(line.rstrip(), file=self._out)

    def fail(self, fault: Fault) -> None:
        """What is wrong and the fix: on stderr, or as JSON on stdout."""
        if self.as_json:
            error = {"code": fault.code, "message": fault.message, "fix": fix_of(fault)}
            self.document({"error": {**error, "docs": PAGES.get(fault.code, "")}})
            return
        message = clean(fault.message)
        # What is said of a command begins with its name.
        print(
            message if message.startswith(("swarmd ", "swarmd: ")) else f"swarmd: {message}", file=self._err
        )
        if fix := fix_of(fault):
            print(f"  fix: {clean(fix)}", file=self._err)
        if fault.code in PAGES and fault.code != "usage":  # whose help is nearer
            print(f"  see: {PAGES[fault.code]}", file=self._err)


# A heading, or that and rich's options for its column.
Column = str | tuple[str, Mapping[str, Any]]


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> "Table":
    """A table of cleaned cells."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        heading, options = (column, {}) if isinstance(column, str) else column
        made.add_column(heading, **options)
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def empty(made: object) -> bool:
    """A table with headings and nothing below them?"""
    from rich.table import Table

    return isinstance(made, Table) and made.show_header and not made.row_count


LEAST_CELL = 12  # characters of a cell that may be folded or cut


def stacked(made: object, width: int) -> "list[Padding | Text] | None":
    """A table that a terminal is too narrow for, a row after the other with its cells named; None if it has room.

    Cut in columns, ids and states could be neither read nor copied.
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if not isinstance(made, Table) or not made.show_header:
        return None
    columns = [(str(column.header), column.no_wrap, list(column.cells)) for column in made.columns]
    needed = 3 * (len(columns) - 1)
    for heading, whole, cells in columns:
        longest = max((len(str(cell)) for cell in cells), default=0)
        needed += max(len(heading), longest if whole else min(longest, LEAST_CELL))
    if needed <= width:
        return None
    found: list[Padding | Text] = []
    for row in zip(*(cells for _, _, cells in columns), strict=True):
        first, *rest = (cell if isinstance(cell, Text) else Text(str(cell)) for cell in row)
        found.append(first)
        line = Text()
        for (heading, _, _), cell in zip(columns[1:], rest, strict=True):
            if cell.plain in ("", "-"):
                continue
            line.append("  " if line else "").append(f"{heading} ", style="dim").append(cell)
        if line:
            found.append(Padding(line, (0, 0, 0, 2)))
    return found


def facts(pairs: Sequence[tuple[str, object]]) -> "Table":
    """Names and values, one a line."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, _cell(value))
    return made


def _cell(value: object) -> "Text":
    from rich.text import Text

    if isinstance(value, Text):
        return value
    text = clean("-" if value in (None, "") else value)
    return Text(text, style=STYLES.get(text, ""))


def styled(value: object, style: str) -> "Text":
    from rich.text import Text

    return Text(clean(value), style=style)


RIGHT: Mapping[str, Any] = {"justify": "right", "no_wrap": True}
WHOLE: Mapping[str, Any] = {"no_wrap": True, "overflow": "ignore"}
