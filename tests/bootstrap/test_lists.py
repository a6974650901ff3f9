"""Bootstrap lists: files, signed seeds and dnsaddr names; what is wrong with one is said, and costs only itself."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
import trio
from swarmd.bootstrap.addresses import peer_id_of
from swarmd.bootstrap.dnsaddr import MAX_DNS_ADDRS, MAX_DNS_QUERIES, resolve_dnsaddr
from swarmd.bootstrap.lists import check_entry, read_file, sign_seeds
from swarmd.protocol.faults import LocalFault

NOW_S = 1_800_000_000
MESH = "bafymesh"


def addr(number: int) -> str:
    return f"/ip4/192.0.2.{number}/tcp/4001/p2p/{peer_id_of(bytes([number]) * 32)}"


def test_a_file_has_an_address_a_line(tmp_path: Path) -> None:
    path = tmp_path / "seeds"
    path.write_text(f"# ours\n\n{addr(1)}   # the first\n/dnsaddr/mesh.example.org\n  {addr(2)}\n")
    assert read_file(path, MESH, (), NOW_S) == [addr(1), "/dnsaddr/mesh.example.org", addr(2)]


@pytest.mark.parametrize(
    "line", ["rubbish", "/ip4/1.2.3.4/tcp/1", "/dnsaddr/a b", "other.txt", "/dnsaddr//x"]
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "seeds"
    path.write_text(f"{addr(1)}\n{line}\n")
    with pytest.raises(LocalFault, match="line 2"):
        read_file(path, MESH, (), NOW_S)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff\xfe")])
def test_a_file_that_is_none_is_an_error_in_words(tmp_path: Path, make) -> None:
    make(tmp_path / "seeds")
    with pytest.raises(LocalFault, match="bad-list"):
        read_file(tmp_path / "seeds", MESH, (), NOW_S)


def test_signed_seeds_are_taken_from_a_verifier_only_and_unchanged(tmp_path: Path, key) -> None:
    path, founder = tmp_path / "seeds.json", key(1)
    text = sign_seeds(MESH, founder.did, [addr(1), addr(2)], NOW_S, NOW_S + 60, founder.sign)

    def read(changed: str, now_s: int = NOW_S, mesh: str = MESH) -> list[str]:
        path.write_text(changed)
        return read_file(path, mesh, (founder.did,), now_s)

    assert read(text) == [addr(1), addr(2)]
    stranger = sign_seeds(MESH, key(2).did, [addr(1)], NOW_S, NOW_S + 60, key(2).sign)
    forged = sign_seeds(MESH, founder.did, [addr(1)], NOW_S, NOW_S + 60, key(2).sign)
    document = json.loads(text)
    for bad, code in (
        (text.replace("192.0.2.1", "192.0.2.9"), "bad-list"),
        (stranger, "untrusted-seeds"),
        (forged, "bad-list"),
        (json.dumps({**document, "more": 1}), "bad-list"),
        (json.dumps({**document, "addrs": [1]}), "bad-list"),
        (json.dumps({**document, "signature": 5}), "bad-list"),
        (json.dumps({**document, "expires_s": None}), "bad-list"),
        ("{", "bad-list"),
        ("{" * 5_000, "bad-list"),
    ):
        with pytest.raises(LocalFault) as caught:
            read(bad)
        assert caught.value.code == code, bad
    with pytest.raises(LocalFault, match="ran out"):
        read(text, now_s=NOW_S + 60)
    with pytest.raises(LocalFault, match="another mesh"):
        read(text, mesh="bafyother")


def test_entries_are_checked_before_anything_starts() -> None:
    for good in (addr(1), "/dnsaddr/mesh.example.org", "seeds.txt", f"/dnsaddr/a.org/p2p/{addr(1)[-52:]}"):
        check_entry(good)
    for bad in ("/ip4/1.2.3.4/tcp/1", "/dnsaddr/", "/dnsaddr/a.org/p2p/x", "/ip4/1.2.3.4/udp/1/quic-v1"):
        with pytest.raises(LocalFault, match="bad-address"):
            check_entry(bad)


# A DNS server of our own ----------------------------------------------------------------------------------


class Dns:
    """Answers TXT questions from `records`; what is not there does not exist."""

    def __init__(self) -> None:
        self.records: Mapping[str, Sequence[str]] = {}
        self.asked: list[str] = []
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
            task_status.started()
            while True:
                wire, sender = await sock.recvfrom(4_096)
                await sock.sendto(self._answer(dns.message.from_wire(wire)).to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name = question.name.to_text().rstrip(".")
        self.asked.append(name)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        texts = self.records.get(name)
        if texts is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            quoted = [json.dumps(text) for text in texts]
            answer.answer.append(
                dns.rrset.from_text(question.name, 60, dns.rdataclass.IN, dns.rdatatype.TXT, *quoted)
            )
        return answer

    def resolver(self) -> dns.asyncresolver.Resolver:
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers, made.port = ["127.0.0.1"], self.port
        return made


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncIterator[Dns]:
    made = Dns()
    await nursery.start(made.run)
    yield made


async def test_a_name_leads_to_addresses_through_other_names(server: Dns) -> None:
    server.records = {
        "_dnsaddr.mesh.test": [
            f"dnsaddr={addr(1)}",
            "dnsaddr=/dnsaddr/eu.mesh.test",
            "dnsaddr=rubbish",
            "dnsaddr=/dnsaddr/gone.mesh.test",
            "v=spf1 -all",
        ],
        "_dnsaddr.eu.mesh.test": [f"dnsaddr={addr(2)}", "dnsaddr=/dnsaddr/mesh.test"],
    }
    with trio.fail_after(15):
        assert sorted(await resolve_dnsaddr("/dnsaddr/mesh.test", server.resolver())) == [addr(1), addr(2)]
        one = f"/dnsaddr/mesh.test/p2p/{addr(1)[-52:]}"
        assert await resolve_dnsaddr(one, server.resolver()) == [addr(1)]


async def test_names_that_lead_in_circles_or_to_thousands_end(server: Dns) -> None:
    server.records = {
        f"_dnsaddr.n{n}.test": [f"dnsaddr=/dnsaddr/n{m}.test" for m in range(n + 1, n + 20)]
        for n in range(100)
    }
    with trio.fail_after(20):
        with pytest.raises(LocalFault, match="leads to no address"):
            await resolve_dnsaddr("/dnsaddr/n0.test", server.resolver())
        assert len(server.asked) <= MAX_DNS_QUERIES
        server.records = {"_dnsaddr.many.test": [f"dnsaddr={addr(n)}" for n in range(1, 251)]}
        found = await resolve_dnsaddr("/dnsaddr/many.test", server.resolver())
        assert 0 < len(found) <= MAX_DNS_ADDRS


async def test_a_name_that_does_not_exist_says_which_record_it_needs(server: Dns) -> None:
    with trio.fail_after(15):
        with pytest.raises(LocalFault) as caught:
            await resolve_dnsaddr("/dnsaddr/nowhere.test", server.resolver())
    assert caught.value.code == "dns-failed" and "_dnsaddr.nowhere.test" in caught.value.message
