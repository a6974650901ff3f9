"""The documents that commands write with --json, as JSON Schema (2020-12): what `swarmd schema` prints.

The tests hold every document that a swarmd writes in them against these (tests/recorder).
"""

from collections.abc import Mapping

from swarmd.node.console.documents import (
    chain,
    contents,
    escrows,
    figures,
    lifecycle,
    mesh,
    money,
    needs,
    node,
    policies,
    records,
)
from swarmd.node.console.documents.shapes import Schema, record, text

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What every command writes instead, when it fails.
ERROR: Schema = record(
    error=record(
        code=text("stays what it is from version to version"),
        message=text("for people; may change"),
        fix=text(),
        docs=text(),
    )
)
# "need list" -> its document, or each of the documents that it writes a line each; "bench" -> that of each benchmark
DOCUMENTS: Mapping[str, Schema] = {
    name: schema
    for family in (
        node,
        lifecycle,
        mesh,
        needs,
        chain,
        money,
        escrows,
        contents,
        records,
        policies,
        figures,
    )
    for name, schema in family.DOCUMENTS.items()
}


def schema_of(command: str) -> Schema | None:
    """Of "need list"; None if there is no such command."""
    return DOCUMENTS.get("bench" if command.startswith("bench ") else command)
