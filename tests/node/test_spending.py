"""Limits on what a node spends: per need, day, agent and capability, refused before anything of the need is said."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.config import load_config
from swarmd.node.spending import DAY_NS, HOUR_NS, Spending, SpendingLimits, parse_limits
from swarmd.protocol.digest import state_digest
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.limits import S_NS

USDC = 1_000_000
NOW_NS = 1_800_000_000 * 10**9


@pytest.fixture
def need(author):
    """need(budget, agent, {capability: most}): as this author posts it."""

    def make(budget, agent="", asked=None, ts_ns=NOW_NS):
        whole = author.need()
        (task,) = whole.payload["tasks"]
        tasks = [
            {**task, "id": f"t{n}", "capability": name, "max_price": most}
            for n, (name, most) in enumerate((asked or {"echo": budget}).items())
        ]
        more = {"agent": agent} if agent else {}
        payload = {**whole.payload, "budget": budget, "tasks": tasks, **more}
        return author.envelope("NEED", whole.thread, payload, ts_ns=ts_ns)

    return make


@pytest.mark.parametrize(
    ("limits", "last", "why"),
    [
        (SpendingLimits(per_need=1 * USDC), (2 * USDC,), "2 USDC asked for; 1 are allowed a need"),
        (SpendingLimits(per_day=5 * USDC), (3 * USDC,), "a day, 3 of it are used"),
        (SpendingLimits(per_agent={"ann": 5 * USDC}), (4 * USDC, "ann"), "a day for the agent ann, 2 of it"),
        (SpendingLimits(per_agent={"*": 1 * USDC}), (2 * USDC, "cat"), "a day for the agent cat"),
        (SpendingLimits(per_agent={"*": 1 * USDC}), (2 * USDC,), "a day for needs of no agent, 1 of it"),
        (
            SpendingLimits(per_capability={"sum": 3 * USDC}),
            (9 * USDC, "", {"echo": 6 * USDC, "sum": 3 * USDC}),
            "a day for sum, 1 of it",
        ),
    ],
)
def test_each_limit_says_what_it_allows_and_what_is_used(author, need, limits, last, why):
    spending = Spending(author.did)
    spending.add(need(2 * USDC, "ann", {"echo": 1 * USDC, "sum": 1 * USDC}))
    spending.add(need(1 * USDC))
    asked = need(*last)
    assert why in spending.refusal(asked, limits)
    assert spending.refusal(asked, SpendingLimits()) == ""


def test_a_limit_may_be_used_up_and_comes_back_after_a_day(author, need):
    limits = SpendingLimits(per_day=2 * USDC, per_agent={"ann": 2 * USDC}, per_capability={"echo": 2 * USDC})
    spending = Spending(author.did)
    assert spending.refusal(need(2 * USDC, "ann"), limits) == ""
    spending.add(need(2 * USDC, "ann"))
    assert spending.refusal(need(1, "ann"), limits) != ""
    assert spending.refusal(need(2 * USDC, "ann", ts_ns=NOW_NS + DAY_NS), limits) == ""
    found = spending.report(NOW_NS + DAY_NS, limits)
    assert found["day"] == (0, 2 * USDC) and found["agents"] == {"ann": (0, 2 * USDC)}


def test_over_budget_is_refused_before_anything_is_said(bench, new_task):
    bench.runner.voice.limits = SpendingLimits(per_day=120_000)

    def post(task):
        args = {"title": "t", "budget": 50_000, "deadline_s": 60, "tasks": [task], "inline": []}
        reply = bench.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)
        bench.runner.turn()
        return reply

    assert post(new_task("t1")).fault is None and post(new_task("t2")).fault is None
    before = state_digest(bench.runner.state)
    fault = post(new_task("t3")).fault
    assert fault.code == "over-budget" and "0.12 are allowed a day, 0.1 of it are used" in fault.message
    assert state_digest(bench.runner.state) == before
    bench.reopen()
    bench.runner.voice.limits = SpendingLimits(per_day=120_000)
    assert post(new_task("t3")).fault.code == "over-budget"  # the count is of the journal


@pytest.mark.parametrize("text", ["-1", "1e3", "0.0000001", "many", "99999999999999999999", "1,5"])
def test_bad_limits_are_refused_with_the_reason(tmp_path, text):
    for name, value in (("spending_per_day", f'"{text}"'), ("spending_per_agent", f'["ann={text}"]')):
        (tmp_path / "swarmd.toml").write_text(f"{name} = {value}\n")
        with pytest.raises(LocalFault) as caught:
            load_config(tmp_path, {})
        assert caught.value.code == "bad-config" and name in str(caught.value)


@pytest.mark.parametrize("entries", [["ann"], ["=1"], ["ann=1", "ann=2"]])
def test_limits_are_named_once(entries):
    with pytest.raises(LocalFault, match="bad-config"):
        parse_limits(entries)


POSTED = st.lists(
    st.tuples(
        st.integers(0, 2 * 24 * 3_600),
        st.integers(1, 9),
        st.sampled_from(["", "ann", "bob"]),
        st.sampled_from(["echo", "sum"]),
    ),
    max_size=60,
)


@given(posted=POSTED, later=st.integers(0, 24 * 3_600), cut=st.integers(0, 60))
def test_what_is_counted_together_and_kept_over_a_checkpoint_counts_as_each_need_by_itself(
    posted, later, cut
):
    """Beside a model that keeps every need. All of one second: what is put together has one age."""
    me = "did:key:z6Mkowner"
    posted = sorted(posted, key=lambda each: each[0])
    said = [
        Envelope(
            kind="NEED", thread="", sender=me, lamport=1, ts_ns=NOW_NS + at_s * S_NS, epoch=0,
            payload={"budget": budget, "agent": agent, "tasks": [{"capability": name, "max_price": budget}]},
            refs=(), policy=b"", eval=b"", trace="", raw=b"", id=bytes([n]),
        )
        for n, (at_s, budget, agent, name) in enumerate(posted)
    ]  # fmt: skip
    spending = Spending(me)
    for envelope in said[:cut]:
        spending.add(envelope)
    again = Spending(me)
    known = [envelope.id for envelope in said[:cut][-2:]]
    assert again.load(spending.dump(known)) == frozenset(known)
    for envelope in said[cut:]:
        spending.add(envelope)
        again.add(envelope)
    now_ns = (said[-1].ts_ns if said else NOW_NS) + later * S_NS
    day = [each for each in said if each.ts_ns > now_ns - DAY_NS]
    facts = {
        "spent_24h": sum(each.payload["budget"] for each in day),
        "needs_1h": sum(each.ts_ns > now_ns - HOUR_NS for each in day),
    }
    report = spending.report(now_ns, SpendingLimits())
    assert spending.facts(now_ns) == again.facts(now_ns) == facts
    assert again.report(now_ns, SpendingLimits()) == report
    for agent, (spent, _) in report["agents"].items():
        assert spent == sum(each.payload["budget"] for each in day if each.payload["agent"] == agent)


def test_a_busy_owner_keeps_a_row_a_second(author, need):
    spending = Spending(author.did)
    for n in range(2_000):
        spending.add(need(1, ts_ns=NOW_NS + n * 1_000_000))
    assert spending.facts(NOW_NS + 2 * S_NS) == {"spent_24h": 2_000, "needs_1h": 2_000}
    assert len(spending._needs) <= 3


def test_a_checkpoint_keeps_the_sum_and_not_the_needs(bench, new_task):
    """And what was said and not sealed before it counts once after a restart."""

    def post():
        args = {"title": "t", "budget": 50_000, "deadline_s": 60, "tasks": [new_task("t1")], "inline": []}
        bench.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns))
        bench.runner.turn()

    voice, now = bench.runner.voice, bench.runner.now_ns
    post()
    bench.runner._window.flushed(time.time_ns() + 10**12)  # the flush window has just begun
    post()
    unsealed = list(voice.unsealed)
    assert len([each for each in unsealed if each.kind == "NEED"]) == 1
    before = voice.spending(now())
    assert before["day"][0] == 100_000
    said, spent = voice.settle()
    assert said == [each.raw for each in unsealed] and voice.spending(now()) == before
    assert [each.kind for each in voice.remembered(now()) if each.kind == "NEED"] == ["NEED"]
    voice.restore(unsealed, bench.runner.chains, spent)
    assert voice.spending(now()) == before
    voice.restore(unsealed, bench.runner.chains)
    assert voice.spending(now())["day"][0] == 50_000  # what was sealed is in the sum alone
