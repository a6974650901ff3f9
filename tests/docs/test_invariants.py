"""The numbered properties: each that is built is cited by a test, and none that is not."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROPERTY = re.compile(r"\bP(?:10|[1-9])\b")


def cited(test_file: Path) -> Iterator[str]:
    """The properties that the docstrings and markers of a test file name."""
    tree = ast.parse(test_file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from PROPERTY.findall(ast.get_docstring(node) or "")
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.property_id"):
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


@pytest.fixture(scope="module")
def page(repo: Path) -> str:
    return (repo / "docs" / "invariants.md").read_text("utf-8")


@pytest.fixture(scope="module")
def citing(repo: Path) -> dict[str, set[str]]:
    """property -> the test files that cite it."""
    found: dict[str, set[str]] = {}
    for path in (repo / "tests").rglob("test_*.py"):
        if path.parent.name != "docs":
            for name in cited(path):
                found.setdefault(name, set()).add(str(path.relative_to(repo)))
    return found


def test_the_page_has_all_ten(page: str) -> None:
    assert re.findall(r"^- \*\*(P\d+)\*\* \S.*\.$", page, re.M) == [f"P{n}" for n in range(1, 11)]


def test_each_property_is_cited_by_a_test_or_declared_not_built(
    page: str, citing: dict[str, set[str]]
) -> None:
    line = page.split("## Not built yet\n\n")[1].split(":")[0]
    not_built = set(PROPERTY.findall(line))
    for name in (f"P{n}" for n in range(1, 11)):
        if name in not_built:
            assert name not in citing, (
                f"{name} is built now: take it from `Not built yet` in docs/invariants.md"
            )
        else:
            assert name in citing, f"no test cites {name}: mark the one that shows it"


def test_no_test_cites_a_property_that_is_not_there(citing: dict[str, set[str]]) -> None:
    assert set(citing) <= {f"P{n}" for n in range(1, 11)}
