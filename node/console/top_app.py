"""The screen of `swarmd top`, in Textual. What it shows is made in `top.py`."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from swarmd.node.console import top
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

# id -> (title, columns, rows of a snapshot)
TABLES: dict[str, tuple[str, Sequence[str], Callable[[top.Snapshot], list[top.Row]]]] = {
    "needs": ("needs", top.NEED_COLUMNS, top.need_rows),
    "peers": ("peers", top.PEER_COLUMNS, top.peer_rows),
    "agents": ("agents", top.AGENT_COLUMNS, top.agent_rows),
    "money": ("money", top.FACT_COLUMNS, top.money_rows),
    "gates": ("gates", top.FACT_COLUMNS, top.gate_rows),
}


class Why(ModalScreen[None]):
    """The steps of one need."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "back")]
    CSS = "Why { align: center middle; } #why { width: 95%; height: 90%; border: round $accent; background: $surface; }"

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self.lines = lines

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="why"):
            yield Static("\n".join(self.lines), markup=False)  # what peers wrote is never markup
        yield Footer()


class Top(App[int]):
    """Asks every `interval_s`, in a thread, so that keys answer while the daemon thinks."""

    TITLE = "swarmd"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("p", "pause", "pause"),
        Binding("r", "refresh", "refresh"),
        Binding("tab", "focus_next", "next table"),
    ]
    CSS = """
    #head { height: 1; background: $primary; color: $text; text-style: bold; }
    #head.bad { background: $error; }
    DataTable { border: round $primary-darken-2; height: 1fr; }
    DataTable:focus { border: round $accent; }
    """

    def __init__(self, feed: Any, interval_s: float) -> None:
        super().__init__()
        self.feed = feed
        self.interval_s = interval_s
        self.paused = False
        self.seen = top.Snapshot()

    def compose(self) -> ComposeResult:
        yield Static("", id="head", markup=False)
        with Vertical():
            yield self._table("needs")
            with Horizontal():
                yield self._table("peers")
                yield self._table("agents")
            with Horizontal():
                yield self._table("money")
                yield self._table("gates")
        yield Footer()

    def _table(self, name: str) -> DataTable[str]:
        title, columns, _ = TABLES[name]
        table: DataTable[str] = DataTable(id=name, cursor_type="row", zebra_stripes=True)
        table.border_title = title
        table.add_columns(*columns)
        return table

    def on_mount(self) -> None:
        self.action_refresh()
        self.set_interval(self.interval_s, self._again)

    def _again(self) -> None:
        if not self.paused:
            self.action_refresh()

    def action_refresh(self) -> None:
        self.run_worker(self._ask, thread=True, group="ask", exclusive=True)

    def _ask(self) -> None:
        seen = self.feed.snapshot()
        self.call_from_thread(self.show, seen)

    def show(self, seen: top.Snapshot) -> None:
        """Put a snapshot on the screen; each table keeps its cursor."""
        self.seen = seen
        head = self.query_one("#head", Static)
        head.set_class(bool(seen.fault) or bool(seen.status.get("trouble")), "bad")
        head.update(self.headline_text())
        if seen.fault:
            return  # what was last known stays readable
        for name, (title, _, rows) in TABLES.items():
            table = self.query_one(f"#{name}", DataTable)
            row, scrolled = table.cursor_row, table.scroll_y
            table.clear()
            found = rows(seen)
            for each in found:
                table.add_row(*(self._cell(value) for value in each))
            table.border_title = f"{title} ({len(found)})" if name in ("needs", "peers", "agents") else title
            if found:
                table.move_cursor(row=min(row, len(found) - 1), scroll=False)
                table.scroll_y = scrolled

    def headline_text(self) -> str:
        return top.headline(self.seen) + ("  PAUSED" if self.paused else "")

    @staticmethod
    def _cell(value: str) -> Any:
        from rich.text import Text

        return Text(value)

    def action_pause(self) -> None:
        self.paused = not self.paused
        self.show(self.seen)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.data_table.id == "needs" and event.cursor_row < len(self.seen.needs):
            need = self.seen.needs[event.cursor_row]["need"]
            self.run_worker(lambda: self._tell(need), thread=True, group="why", exclusive=True)

    def _tell(self, need: str) -> None:
        lines = self.feed.why(need)
        self.call_from_thread(self.push_screen, Why(lines))

    def on_unmount(self) -> None:
        self.feed.close()
