"""Demo agent `text.wordcount`: count the words of a text.

Input: `{"text": str}`, or one of a split's chunks: `{"chunks": [str, ...] or {"chunks": [...]}, "index":
int}`. Output: `{"words": int, "top": {word: count}}`; a word is what stands between white space, in lower
case, and `top` has all of them, so that counts of parts add up to the count of the whole.
"""

import json
import sys
from collections import Counter
from typing import Any, NoReturn


def count(text: str) -> dict[str, Any]:
    words = [word.lower() for word in text.split()]
    return {"words": len(words), "top": dict(sorted(Counter(words).items()))}


def main() -> None:
    json.dump(count(_text(read_input())), sys.stdout)


def _text(given: dict[str, Any]) -> str:
    if "chunks" in given:
        chunks = given["chunks"]
        if isinstance(chunks, dict):
            chunks = chunks.get("chunks")
        index = given.get("index")
        if not isinstance(chunks, list) or type(index) is not int or not 0 <= index < len(chunks):
            fail("input.chunks must be a list, and input.index one of its places")
        text = chunks[index]
    else:
        text = given.get("text")
    if not isinstance(text, str):
        fail("input.text must be text")
    return text


def read_input() -> dict[str, Any]:
    try:
        job = json.load(sys.stdin.buffer)
    except ValueError as error:
        fail(f"the job is no JSON: {error}")
    if not isinstance(job, dict) or not isinstance(job.get("input"), dict):
        fail("the job has no input")
    found: dict[str, Any] = job["input"]
    return found


def fail(why: str) -> NoReturn:
    print(f"text.wordcount: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
