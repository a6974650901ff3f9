"""The schemas of what commands write with --json. tests/conftest.py holds every document of every test against them."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from swarmd.cli import build_parser
from swarmd.node.console.documents import DOCUMENTS, ERROR, schema_of

Swarmd = Callable[..., Any]
# What a script most likely reads, asked of a daemon at rest.
READ_ONLY = (
    *("status", "balance", "peers", "peers list", "peers score", "peers allow", "peers deny", "need list"),
    *("task list", "agent list", "doctor", "doctor net", "doctor content", "doctor chain", "config show"),
    *("config check", "verifier list", "consensus status", "consensus roster", "consensus epoch"),
    *("consensus evidence", "checkpoint list", "content ls", "content stat", "content group list"),
    *("policy list", "policy show", "state show", "settle status", "wallet show", "wallet address"),
    *("wallet bound", "stake show", "channel list", "invoice list", "invoice limits", "escrow list"),
    *("escrow reputation", "statement", "token list", "api status", "analytics", "metrics", "top", "version"),
    *("service status", "schema"),
)


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that does something."""
    if parser.get_default("run"):
        yield " ".join(words)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from commands(below, (*words, name))


def test_each_command_has_a_schema() -> None:
    found = set(commands(build_parser()))
    assert all(map(schema_of, found)) and set(DOCUMENTS) <= {*found, "bench"}
    for schema in (ERROR, *DOCUMENTS.values()):
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("words", READ_ONLY)
def test_a_real_answer_is_as_documented(swarmd: Swarmd, live: Path, words: str, documents: Any) -> None:
    ran = swarmd(words, "--json")
    assert ran.code in (0, 1) and set(ran.json) != {"error"}
    assert documents.wrong() == [] and words in documents.seen
    # The schema says something: what is not such a document does not pass.
    assert documents.faults(words, []) and (words == "schema" or documents.faults(words, {}))


def test_a_document_that_is_not_as_documented_is_noticed(documents: Any) -> None:
    reached = {"need": "n", "state": "OPEN", "reached": False}
    assert documents.faults("wait need", reached) == []
    for wrong in ({"need": "n", "state": "OPEN"}, {**reached, "state": 4}, {**reached, "more": 1}, []):
        assert documents.faults("wait need", wrong)
    assert documents.faults("status", {"error": {"code": "x", "message": "m"}})
    assert documents.faults("no such command", {}) == [
        "swarmd no such command has no schema in node/console/documents"
    ]


def test_what_other_processes_write_is_looked_at(documents: Any) -> None:
    subprocess.run([sys.executable, "-m", "swarmd.cli", "version", "--json"], check=True, timeout=60)
    assert documents.wrong() == [] and "version" in documents.seen
    program = (
        "from swarmd.node.console.output import Output\n"
        "out = Output(as_json=True)\n"
        "out.command = 'version'\n"
        "out.document({'version': 1})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    (wrong,) = documents.wrong()
    assert "swarmd version, $" in wrong and "test_what_other_processes" in wrong


def test_swarmd_schema(swarmd: Swarmd, home: Path) -> None:
    whole = swarmd("schema --json").json
    assert whole["commands"].keys() == DOCUMENTS.keys() and "error" in whole
    one = swarmd("schema need list --json").json
    Draft202012Validator.check_schema(one)
    assert one["properties"]["needs"]["type"] == "array" and one["title"].startswith("swarmd need list")
    assert swarmd("schema need list -q").out == "need list\n"
    text = swarmd("schema need list").out
    assert "needs[].budget" in text and "nanoseconds since 1970" in text
    assert swarmd("schema content ls").out.count("\nor\n") == 1
    assert swarmd("schema").out.splitlines() == list(DOCUMENTS)
    ran = swarmd("schema need lst")
    assert ran.code == 2 and "did you mean need list?" in ran.err
    assert "need post" in swarmd("schema need").err
    json.dumps(whole)
