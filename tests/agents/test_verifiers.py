"""Verifiers judge real results: accept, reject with the reason, abstain when they cannot tell."""

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.agents import Agent
from swarmd.node.agents.launcher import Limits
from swarmd.node.agents.registry import AgentRecord, offer
from swarmd.node.agents.verifiers import CommandVerifier, Judgement, ReexecVerifier, SchemaVerifier
from swarmd.node.demo import agents as demo_agents
from swarmd.node.demo.agents import merge, split, wordcount
from swarmd.protocol.faults import LocalFault

DEMO = Path(demo_agents.__file__).parent


async def test_reexecution(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        agent = Agent("wc")
        agent.task("t.x")(lambda task: {"b": 2.0, "a": [1, {"deep": task.input["text"]}], "p": task.purpose})
        await nursery.start(agent.serve, h.path)
        verifier = ReexecVerifier(h.agents)
        good = {"a": [1, {"deep": "x"}], "b": 2, "p": "verify"}
        same = await verifier.judge(job(text="x"), good)
        assert (same.verdict, same.score, same.reason) == ("accept", 100, "the same result from our own run")
        assert same.telemetry["output_bytes"] == 41 and same.telemetry["max_rss_kb"] > 0
        wrong = await verifier.judge(job(text="x"), good | {"a": [1, {"deep": "y"}]})
        assert (wrong.verdict, wrong.score) == ("reject", 0)
        assert wrong.reason.endswith('at $.a[1].deep: "x", not "y"')
        for other in (
            None,
            good | {"a": [True, {"deep": "x"}]},
            good | {"more": 1},
            {"a": b"x"},
            float("nan"),
        ):
            assert (await verifier.judge(job(text="x"), other)).verdict == "reject"
        crashed = await verifier.judge(job(), good)
        assert crashed.verdict == "abstain" and "KeyError" in crashed.reason
        assert (await verifier.judge(job("t.none"), good)).verdict == "abstain"
        nursery.cancel_scope.cancel()


async def test_json_schema(hosting, job):
    schema = {
        "type": "object",
        "properties": {"words": {"type": "integer", "minimum": 0}, "top": {"$ref": "#/$defs/top"}},
        "required": ["words"],
        "$defs": {"top": {"additionalProperties": {"type": "integer"}}},
    }
    async with hosting() as h:
        verifier = SchemaVerifier(schema, h.agents.launcher)
        assert (await verifier.judge(job(), {"words": 2, "top": {"a": 1}})).verdict == "accept"
        wrong = await verifier.judge(job(), {"words": 2, "top": {"a": "1"}})
        assert wrong.verdict == "reject" and "$.top.a" in wrong.reason
        started = time.monotonic()
        for _ in range(20):
            assert (await verifier.judge(job(), {"words": -1})).verdict == "reject"
        assert time.monotonic() - started < 2  # the worker is warm
        assert (await verifier.judge(job(), {"words": float("nan")})).verdict == "reject"
        await verifier.aclose()
        assert (await verifier.judge(job(), {"words": 1})).verdict == "accept"


@pytest.mark.parametrize("schema", [True, {}])
async def test_what_allows_anything_asks_no_worker(hosting, job, schema):
    class NoLauncher:
        pass  # a worker could not be started

    verifier = SchemaVerifier(schema, NoLauncher())
    judgement = await verifier.judge(job(), {"any": [1, None]})
    assert (judgement.verdict, judgement.score) == ("accept", 100)
    assert (await verifier.judge(job(), float("nan"))).verdict == "reject"  # no JSON
    async with hosting() as h:
        nothing = SchemaVerifier(False, h.agents.launcher)
        assert (await nothing.judge(job(), 1)).verdict == "reject"
        await nothing.aclose()


async def test_closing_a_schema_verifier_waits_for_the_judgement_it_is_at(hosting, job):
    async with hosting() as h, trio.open_nursery() as nursery:
        verifier = SchemaVerifier({"type": "integer"}, h.agents.launcher)
        verdicts = []

        async def judge(output: Any) -> None:
            verdicts.append((await verifier.judge(job(), output)).verdict)

        nursery.start_soon(judge, 1)
        await trio.testing.wait_all_tasks_blocked()
        await verifier.aclose()
        assert verdicts == ["accept"] and verifier._worker is None
        with trio.move_on_after(0.01):
            await judge(1)  # cancelled half way
        await judge("x")
        assert verdicts[-1] == "reject"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"type": 5}, "not a JSON Schema"),
        ({"$ref": "#"}, "never ends"),
        ({"pattern": "^(a+)+$"}, "took longer"),
    ],
)
async def test_a_hostile_schema_is_no_danger(hosting, job, schema, reason):
    async with hosting() as h:
        verifier = SchemaVerifier(schema, h.agents.launcher, timeout_s=0.4)
        judgement = await verifier.judge(job(), "a" * 40 + "!")
        assert judgement.verdict == "abstain" and reason in judgement.reason


async def test_what_is_no_schema(hosting):
    async with hosting() as h:
        for bad in (5, [], float("nan"), {"a": b"x"}, {"description": "x" * 70_000}):
            with pytest.raises(LocalFault, match="bad-schema"):
                SchemaVerifier(bad, h.agents.launcher)


async def test_an_operators_command(hosting, job, tmp_path):
    code = """
import json, sys
told = json.load(sys.stdin)
assert told["job"]["input"]["text"] == "x" and told["job"]["capability"] == "t.x"
if told["output"] == "hang":
    import time; time.sleep(60)
print("looked at", told["output"]); sys.exit(told["output"])
"""
    (tmp_path / "judge.py").write_text(code)
    async with hosting() as h:
        verifier = CommandVerifier(
            [sys.executable, "-I", "-S", "judge.py"],
            h.agents.launcher,
            scratch=h.scratch,
            base=tmp_path,
            limits=Limits(timeout_s=0.5),
        )

        async def judge(output: Any) -> Judgement:
            return await verifier.judge(job(text="x"), output)

        assert await judge(0) == Judgement("accept", 100, "looked at 0")
        assert await judge(1) == Judgement("reject", 0, "looked at 1")
        assert (await judge(2)).verdict == "abstain"
        hung = await judge("hang")
        assert hung.verdict == "abstain" and "timeout" in hung.reason
        assert (await judge(b"no json")).verdict == "reject"
        with pytest.raises(LocalFault, match="no-such-program"):
            CommandVerifier(["no-such-judge"], h.agents.launcher, scratch=h.scratch)


async def test_the_agents_of_the_demo_count_a_text_in_parts(hosting, job):
    text = "The cat and the dog.\nA Cat, the CAT; żółw\u2003żółw\n" * 300
    async with hosting() as h:
        for name in ("split", "wordcount", "merge"):
            h.agents.registry.add(
                AgentRecord(
                    name,
                    "command",
                    (offer(f"text.{name}", "0.01"),),
                    (sys.executable, "-I", str(DEMO / f"{name}.py")),
                )
            )

        async def run(capability: str, **given: Any) -> Any:
            result = await h.agents.run_job(job(capability, **given))
            assert result.error is None, result.detail
            return result.output

        cut = await run("text.split", text=text, parts=3)
        counts = [await run("text.wordcount", text=chunk) for chunk in cut["chunks"]]
        assert counts[1] == await run("text.wordcount", chunks=cut, index=1)
        merged = await run("text.merge", parts=counts)
        assert merged == await run("text.merge", a=counts[0], b=counts[1], c=counts[2])
        words = text.lower().split()
        assert merged == {"words": len(words), "top": dict(Counter(words))}
        for capability, given in (
            ("text.split", {"text": 5}),
            ("text.split", {"text": "x", "parts": 0}),
            ("text.wordcount", {}),
            ("text.wordcount", {"chunks": [], "index": 0}),
            ("text.merge", {"parts": [1]}),
            ("text.merge", {"parts": 5}),
        ):
            bad = await h.agents.run_job(job(capability, **given))
            assert bad.error == "crashed" and f"exit status 2\n{capability}: " in bad.detail


@given(st.text(alphabet="ab \n\u2003é\x1c", max_size=400), st.integers(1, 12))
def test_a_split_loses_nothing_and_cuts_no_word(text, parts):
    chunks = split.split(text, parts)
    assert len(chunks) == parts and "".join(chunks) == text
    assert [word for chunk in chunks for word in chunk.split()] == text.split()
    assert merge.merge([wordcount.count(chunk) for chunk in chunks]) == wordcount.count(text)


def test_a_split_of_a_long_text_is_about_even():
    chunks = split.split("some words in a line\n" * 10_000, 8)
    assert max(map(len, chunks)) - min(map(len, chunks)) < 1_000
