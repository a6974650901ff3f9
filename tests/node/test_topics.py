"""Topics: names that readers on this host choose envelopes by."""

import pytest
import trio
from swarmd.node.bench.envelopes import EnvelopeMaker
from swarmd.node.topics import TopicFilter, TopicHub, topic_of
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import bucket_of, need_id
from swarmd.protocol.faults import LocalFault

ONE, TWO = need_id("a", 1), need_id("a", 2)


@pytest.fixture
def said():
    """said(thread) -> an ATTEST in it."""
    maker = EnvelopeMaker(did_of(bytes(32)), 500, needs=[ONE, TWO])
    made = [maker.make(1) for _ in range(2)]

    def find(thread):
        return next(envelope for envelope in made if envelope.thread == thread)

    return find


def test_an_envelope_has_one_topic_of_the_seeds_form(said):
    assert topic_of(said(ONE)) == f"/swarm/thread/{ONE}/attest"
    assert TopicFilter.parse(topic_of(said(ONE))) == TopicFilter(ONE, "ATTEST")


@pytest.mark.parametrize(
    ("text", "one", "two"),
    [
        ("/swarm/thread/#", True, True),
        ("/swarm/thread/+/+", True, True),
        ("/swarm/thread/+/ATTEST", True, True),
        ("/swarm/thread/+/claim", False, False),
        (f"/swarm/thread/{ONE}/#", True, False),
        (f"/swarm/thread/{TWO}/attest", False, True),
    ],
)
def test_what_a_filter_matches(said, text, one, two):
    topic = TopicFilter.parse(text)
    assert (topic.matches(said(ONE)), topic.matches(said(TWO))) == (one, two)


@pytest.mark.parametrize(
    "text",
    ["", "/swarm", "/swarm/thread/", "/swarm/thread/+", "/swarm/thread/x/claim", "/swarm/thread/+/sing",
     "/swarm/thread/#/claim", "/swarm/thread/+/+/+", "/other/thread/+/claim", f"/swarm/thread/{ONE}//"],
)  # fmt: skip
def test_what_is_no_topic(text):
    with pytest.raises(LocalFault) as caught:
        TopicFilter.parse(text)
    assert caught.value.code == "bad-topic" and caught.value.fix


def test_a_topic_of_one_thread_lies_in_one_bucket():
    assert TopicFilter.parse(f"/swarm/thread/{ONE}/#").bucket == bucket_of(ONE)
    assert TopicFilter.parse("/swarm/thread/+/claim").bucket is None


async def test_the_hub_hands_out_what_matches_once_and_bounds_who_is_slow(said):
    hub = TopicHub(capacity=3)
    narrow = hub.subscribe(TopicFilter.parse(f"/swarm/thread/{ONE}/#"))
    wide = hub.subscribe(TopicFilter.parse("/swarm/thread/#"))
    hub.publish(said(ONE))
    hub.publish(said(TWO))
    with trio.fail_after(5):
        assert await narrow.take() == [said(ONE)]
        assert await wide.take() == [said(ONE), said(TWO)]
        for _ in range(5):
            hub.publish(said(TWO))
        assert await wide.take() == [said(TWO)] * 3 and wide.lost == 2 and narrow.lost == 0
    hub.unsubscribe(narrow)
    hub.unsubscribe(wide)
    assert list(hub) == []
