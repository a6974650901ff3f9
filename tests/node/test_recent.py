"""Digests are exact unless the caller says how old they may be."""

from sys import getrefcount
from typing import Any

from swarmd.node.recent import RecentDigests
from swarmd.protocol.digest import mesh_digest, state_digest


def test_digests_are_of_now_or_as_old_as_they_may_be(bench: Any, author: Any) -> None:
    now_s = [100.0]
    recent = RecentDigests(bench.runner, lambda: now_s[0])

    def hear_of_a_need() -> None:
        bench.take(author.batch(author.need())[0])

    def exact() -> tuple[str, str]:
        return mesh_digest(bench.runner.state).hex(), state_digest(bench.runner.state).hex()

    first = recent.pair()
    assert first == exact()
    hear_of_a_need()
    now_s[0] += 0.9
    assert recent.pair(1.0) == first != exact()
    now_s[0] += 0.2
    assert recent.pair(1.0) == exact()
    hear_of_a_need()
    assert recent.pair() == exact()


def test_a_state_that_was_put_back_is_looked_at_again(bench: Any) -> None:
    recent = RecentDigests(bench.runner)
    recent.pair()
    bench.runner.speak()  # makes it anew from the journal
    assert recent.pair() == (mesh_digest(bench.runner.state).hex(), state_digest(bench.runner.state).hex())


def test_a_need_that_a_checkpoint_lets_go_of_is_not_kept(bench: Any, author: Any) -> None:
    recent = RecentDigests(bench.runner)
    bench.take(author.batch(author.need())[0])
    need = next(iter(bench.runner.state.needs.values()))
    held = getrefcount(need)
    recent.pair()
    assert getrefcount(need) > held
    for follow in bench.runner.before_adoption:
        follow()
    assert getrefcount(need) == held
    assert recent.pair() == (mesh_digest(bench.runner.state).hex(), state_digest(bench.runner.state).hex())
