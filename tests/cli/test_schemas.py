"""The documented schemas of --json. The `swarmd` fixture holds every document of a real daemon against them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from swarmd.cli import build_parser
from swarmd.node.console.completion import walk

Check = Callable[[list[str], str], None]
# What a script most likely reads.
READ_ONLY = (
    *(
        "status",
        "balance",
        "peers",
        "peers list",
        "peers score",
        "need list",
        "task list",
        "agent list",
        "doctor",
    ),
    *(
        "config show",
        "config check",
        "verifier list",
        "consensus status",
        "consensus roster",
        "consensus epoch",
    ),
    *(
        "checkpoint list",
        "content ls",
        "content stat",
        "policy list",
        "policy show",
        "state show",
        "settle status",
    ),
    *(
        "wallet show",
        "stake show",
        "channel list",
        "doctor net",
        "doctor content",
        "top",
        "version",
        "service status",
    ),
)


@pytest.fixture(scope="module")
def whole(repo: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repo / "docs" / "schemas" / "commands.json").read_text("utf-8"))
    return found


def test_each_schema_is_one_of_a_command_that_there_is(whole: dict[str, Any]) -> None:
    assert set(whole["commands"]) <= {" ".join(node.words) for node in walk(build_parser())}
    for schema in (whole["error"], *whole["commands"].values()):
        Draft202012Validator.check_schema(schema)
    assert set(READ_ONLY) <= set(whole["commands"])


@pytest.mark.parametrize("words", READ_ONLY)
def test_a_real_answer_is_as_documented(
    swarmd: Callable[..., Any], live: Path, words: str, whole: dict[str, Any]
) -> None:
    ran = swarmd(words, "--json")  # which holds it against its schema
    assert ran.code in (0, 1) and "error" not in ran.json
    # The schema says something: what is not such a document does not pass.
    schema = whole["commands"][words]
    assert "$ref" in schema or schema["properties"]


def test_a_document_that_is_not_as_documented_is_noticed(check_documents: Check) -> None:
    check_documents(["--json", "wait", "need", "x"], '{"need": "n", "state": "OPEN", "reached": false}')
    for wrong in ('{"need": "n", "state": "OPEN"}', '{"need": "n", "state": 4, "reached": false}', "[]"):
        with pytest.raises(AssertionError):
            check_documents(["--json", "wait", "need", "x"], wrong)
    with pytest.raises(AssertionError):
        check_documents(["status", "--json"], '{"error": {"code": "x", "message": "m"}}')
    check_documents(["status"], "text")
    check_documents(["agent", "add", "x", "--", "--json"], "text")
