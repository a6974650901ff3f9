"""One node of the comparison: libp2p 0.8.1 as it ships, one signed gossipsub message an envelope.

As its documentation sets it up, with three switches off without which it delivers next to nothing here: spam
protection (10 messages/s and topic), adaptive gossip and eclipse protection (which count on many networks).
"""

import gc
import time
import warnings
from typing import Any

import trio
from nacl.signing import SigningKey
from swarmd.node.bench.envelopes import EnvelopeMaker, arrivals
from swarmd.node.bench.processes import Ready, serve
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import parse

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from libp2p import new_host
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr  # type: ignore[import-untyped]

_TOPIC = "bench"
_DRAIN_S = 2.0


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    gc.set_threshold(50_000, 20, 50)
    key = SigningKey.generate()
    maker = EnvelopeMaker(did_of(bytes(key.verify_key)), settings["size_bytes"])
    host = new_host()
    router = GossipSub(
        [PROTOCOL_ID_V11],
        6,
        4,
        12,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
    pubsub = Pubsub(host, router)
    latencies_ms: list[float] = []
    ids: set[bytes] = set()
    sent = 0
    async with (
        host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]),
        background_trio_service(pubsub),
        background_trio_service(router),
        trio.open_nursery() as nursery,
    ):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(_TOPIC)

        async def receive() -> None:
            while True:
                message = await subscription.get()
                if message.from_id == host.get_id().to_bytes():
                    continue
                envelope = parse(message.data)
                if envelope.id not in ids:
                    ids.add(envelope.id)
                    latencies_ms.append((time.time_ns() - envelope.ts_ns) / 1e6)

        nursery.start_soon(receive)
        for addr in settings["peers"]:
            await host.connect(info_from_p2p_addr(Multiaddr(addr)))
        port = host.get_addrs()[0].value_for_protocol("tcp")
        await ready(f"/ip4/127.0.0.1/tcp/{port}/p2p/{host.get_id()}")
        peers = len(host.get_network().connections)
        began_cpu_s = time.process_time()
        began_ns = time.time_ns()
        ends_ns = began_ns + int(settings["seconds"] * 1e9)
        for at_ns in arrivals(settings["rate"], began_ns, ends_ns, settings["index"]):
            await trio.sleep(max(0.0, (at_ns - time.time_ns()) / 1e9))
            if time.time_ns() > ends_ns:
                break  # it is behind: what it could not publish in time counts as not sent
            await pubsub.publish(_TOPIC, maker.make(at_ns).raw)
            sent += 1
        await trio.sleep(max(0.0, (ends_ns - time.time_ns()) / 1e9) + _DRAIN_S)
        report = {
            "sent": sent,
            "flushes": sent,
            "peers": peers,
            "frames": len(latencies_ms),
            "latencies_ms": [round(ms, 3) for ms in latencies_ms],
            "cpu_s": time.process_time() - began_cpu_s,
            "drops": 0,
        }
        nursery.cancel_scope.cancel()
    return report


if __name__ == "__main__":
    serve(main)
