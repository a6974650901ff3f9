"""How log lines look: text for people, or one JSON object each, with the ids that tie a line to a trace and a need.

The ids are those that the message names, so every line has them whoever wrote it: a need, and with it the trace of
`tracing.py`, peers and DIDs.
"""

import json
import logging
import re
from typing import Any, Final

from swarmd.node.console.output import clean
from swarmd.protocol.envelope import trace_id_of

_NEED: Final = re.compile(r"\bneed-[a-z2-7]{32}\b")
_PEER: Final = re.compile(r"\b(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|Qm[1-9A-HJ-NP-Za-km-z]{44})\b")
_DID: Final = re.compile(r"\bdid:key:z[1-9A-HJ-NP-Za-km-z]{46,48}\b")
_EXTRA: Final = ("need", "peer", "did", "trace_id", "span_id", "code")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts_ns, level, logger, message; `need`, `trace_id`, `peer`, `did` where the message names
    one (or the call gives it as `extra`); `error` with the traceback if there is one. Always ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, Any] = {
            "ts_ns": int(record.created * 1e9),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **ids_in(message),
        }
        for name in _EXTRA:
            if name in record.__dict__:
                line[name] = record.__dict__[name]
        if "need" in line:
            line.setdefault("trace_id", trace_id_of(str(line["need"])))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line for people, and the traceback below it if there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        # What a message says may come from a peer: it does not end a line, and no terminal obeys it.
        return clean(super().formatMessage(record))


def ids_in(message: str) -> dict[str, str]:
    """The first need, peer and DID that a message names."""
    found = {}
    for name, pattern in (("need", _NEED), ("peer", _PEER), ("did", _DID)):
        match = pattern.search(message)
        if match is not None:
            found[name] = match[0]
    return found
