"""The demo's need: split a text, count its words in parallel, merge the counts; and the answer computed apart."""

import re
from importlib.resources import files
from typing import Any

PARTS = 3
BUDGET = "1.00"
OWNER = "alice"
HELPERS = ("bob", "carol", "dave", "erin")
# Each helper asks its own price, so that the cheapest offer has a name.
PRICES = {
    "bob": {"text.split": "0.010", "text.wordcount": "0.020", "text.merge": "0.012"},
    "carol": {"text.split": "0.012", "text.wordcount": "0.020", "text.merge": "0.010"},
    "dave": {"text.split": "0.015", "text.wordcount": "0.020", "text.merge": "0.015"},
    "erin": {"text.split": "0.011", "text.wordcount": "0.020", "text.merge": "0.011"},
}
SCRIPTS = {"text.split": "split.py", "text.wordcount": "wordcount.py", "text.merge": "merge.py"}


def default_text() -> str:
    """The text that ships: the opening of Lewis Carroll's "Alice's Adventures in Wonderland" (1865)."""
    return files(__package__).joinpath("alice.txt").read_text("utf-8")


def need_spec(text: str, parts: int = PARTS) -> dict[str, Any]:
    """The need as `swarmd need post --graph` would take it: parts + 2 tasks."""
    counts = [f"count-{number}" for number in range(parts)]
    split = {
        "id": "split",
        "capability": "text.split",
        "input": {"text": {"text": text}, "parts": {"json": parts}},
        "max_price": "0.05",
    }
    count = [
        {
            "id": name,
            "capability": "text.wordcount",
            "input": {"text": {"task": "split", "pointer": f"/chunks/{number}"}},
            "max_price": "0.05",
        }
        for number, name in enumerate(counts)
    ]
    merge = {
        "id": "merge",
        "capability": "text.merge",
        "input": {name: {"task": name, "pointer": ""} for name in counts},
        "max_price": "0.05",
    }
    return {
        "title": "count the words of a text",
        "budget": BUDGET,
        "deadline_s": 300,
        "tasks": [split, *count, merge],
    }


def expected(text: str) -> dict[str, Any]:
    """The same count by other means than the agents': one regular expression over the whole text."""
    top: dict[str, int] = {}
    words = 0
    for found in re.finditer(r"\S+", text):
        word = found.group().lower()
        top[word] = top.get(word, 0) + 1
        words += 1
    return {"words": words, "top": top}
