"""`swarmd schema`: what the documents of a command are."""

import difflib
from collections.abc import Sequence
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.documents import DIALECT, DOCUMENTS, ERROR, schema_of
from swarmd.node.console.documents.shapes import Schema
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import WHOLE, table
from swarmd.node.console.schema_text import rows
from swarmd.node.version import version


def run_schema(ctx: Context) -> int:
    out, name = ctx.out, " ".join(ctx.args.command_words)
    schema = schema_of(name)
    if name and schema is None:
        near = difflib.get_close_matches(name, DOCUMENTS, 1)
        below = [each for each in DOCUMENTS if each.startswith(f"{name} ")]
        fix = (
            f"there are: {', '.join(below)}"
            if below
            else f"did you mean {near[0]}?"
            if near
            else "swarmd schema"
        )
        raise UsageFault(f"no command {name!r} that writes documents", fix=fix)
    if out.as_json:
        out.document(every_schema() if schema is None else titled(name, schema))
    elif schema is None or out.quiet:
        for each in [name] if name else DOCUMENTS:
            out.line(each)
    else:
        for number, form in enumerate(forms(schema)):
            if number:
                out.line("or")
            out.print(table([("property", WHOLE), "type", "meaning"], list(rows(form, str))))
        out.note("? marks what may be absent; the JSON Schema: add --json", "dim")
    return OK


def forms(schema: Schema) -> Sequence[Schema]:
    """What a document may be: mostly one form, or one of several."""
    found: Sequence[Schema] = schema.get("anyOf", (schema,))
    return found


def titled(name: str, schema: Schema) -> dict[str, Any]:
    """The JSON Schema of the documents of a command."""
    title = f"swarmd {name} --json, of swarmd {version()}"
    return {"$schema": DIALECT, "title": title, **schema}


def every_schema() -> dict[str, Any]:
    """`error`, and under `commands` each command's."""
    return {
        "$schema": DIALECT,
        "title": f"What commands of swarmd {version()} write with --json",
        "error": ERROR,
        "commands": dict(DOCUMENTS),
    }
