"""Private meshes: who lacks the key cannot open a connection; the cipher is the one that others speak."""

import os
import secrets

import nacl.bindings
import pytest
import trio
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p import P2PTransport
from swarmd.node.transport.p2p.pnet import hsalsa20, xsalsa20


def test_hsalsa20_gives_the_subkeys_of_its_paper() -> None:
    # D. J. Bernstein, Cryptography in NaCl, sections 8 and 9.
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    first = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    prefix = bytes.fromhex("69696ee955b62b73cd62bda875fc73d6")
    assert hsalsa20(shared, bytes(16)) == first
    assert hsalsa20(first, prefix).hex() == "dc908dda0b9344a953629b733820778880f3ceb421bb61b91cbd4c3e66256ce4"


def test_xsalsa20_is_that_of_libsodium() -> None:
    for size in (1, 31, 32, 33, 1_000):
        key, nonce, plain = os.urandom(32), os.urandom(24), os.urandom(size)
        box = nacl.bindings.crypto_secretbox(plain, nonce, key)  # 16 bytes of tag, then the stream from 32 on
        cipher = xsalsa20(key, nonce)
        cipher.encrypt(bytes(32))
        assert cipher.encrypt(plain) == box[16:]


class Handler:
    def __init__(self) -> None:
        self.ups = 0

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        return

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return b"you said " + body

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.ups += 1

    async def on_peer_down(self, peer_id: str) -> None:
        return


async def started(nursery: trio.Nursery, psk: bytes | None) -> tuple[P2PTransport, Handler]:
    handler = Handler()
    transport = P2PTransport(os.urandom(32), "private", psk=psk)
    await nursery.start(transport.run, handler)
    return transport, handler


async def test_members_talk_and_others_cannot_connect() -> None:
    psk = secrets.token_bytes(32)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            member, heard = await started(nursery, psk)
            friend, _ = await started(nursery, psk)
            await friend.connect(member.addrs[0])
            body = os.urandom(300_000)
            assert await friend.request(member.peer_id, body) == b"you said " + body
            for stranger_psk in (None, secrets.token_bytes(32)):
                stranger, _ = await started(nursery, stranger_psk)
                with pytest.raises(PeerGone):
                    await stranger.connect(member.addrs[0])
                with pytest.raises(PeerGone):
                    await member.connect(stranger.addrs[0])
                assert stranger.peers() == []
            assert [peer.peer_id for peer in member.peers()] == [friend.peer_id]
            assert heard.ups == 1
            assert await friend.request(member.peer_id, b"still") == b"you said still"
            nursery.cancel_scope.cancel()
