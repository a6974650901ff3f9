"""The node, its agents, its peers, its policy."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes, who
from swarmd.node.api.requests import AccessSpec, ActivateSpec, BanSpec, CapsuleSpec, InviteSpec

DIGESTS_AGE_S = 1.0
Name = Annotated[str, Path(max_length=128)]
Peer = Annotated[str, Path(max_length=128, description="a peer id or did:key")]


def routes(ask: Asker) -> list[APIRouter]:
    return [_node(ask), _agents(ask), _peers(ask), _policy(ask)]


def _node(ask: Asker) -> APIRouter:
    api = Routes("node")

    @api.get("/status", model=models.Status)
    async def status() -> Response:
        """How the node is: what `swarmd status --json` says. Its digests may be a second old; those of /state are not."""
        return answer(await ask("status", digests_age_s=DIGESTS_AGE_S))

    @api.get("/state", model=models.State)
    async def state() -> Response:
        """Digests of the state, and what the journal holds."""
        return answer(await ask("state.show"))

    @api.get("/session", model=models.Session)
    async def session(request: Request) -> Response:
        """Who asks, what they may, and until when."""
        asker = who(request)
        return answer(
            {
                "did": asker.did,
                "name": asker.name,
                "scopes": list(asker.scopes),
                "expires_s": asker.expires_s,
                "csrf": asker.csrf,
            }
        )

    @api.change("POST", "/sync", model=models.Synced)
    async def sync() -> Response:
        """Ask every peer now for what this node lacks."""
        return answer(await ask("sync"))

    @api.change("POST", "/invites", model=models.Invite, status_code=201)
    async def invite(spec: InviteSpec) -> Response:
        """A ticket with which another host can join. That of a private mesh holds its key."""
        return answer(await ask("invite", ttl_s=spec.ttl_s, addrs=spec.addrs), 201)

    return api.router


def _agents(ask: Asker) -> APIRouter:
    """Adding one is left to the host: an agent is a program, and a token must not be able to run programs."""
    api = Routes("agents")

    @api.get("/agents", model=models.Agents)
    async def agents() -> Response:
        """The agents of this node."""
        return answer({"agents": await ask("agent.list")})

    @api.get("/agents/{name}/stderr", model=models.Stderr, problems=(404,))
    async def agent_stderr(name: Name) -> Response:
        """The last 64 KiB that its last run said to stderr."""
        return answer(await ask("agent.stderr", name=name))

    @api.change("POST", "/agents/{name}/enable", problems=(404,))
    async def enable_agent(name: Name) -> Response:
        """Offer what it can do."""
        return answer(await ask("agent.enable", name=name, enabled=True))

    @api.change("POST", "/agents/{name}/disable", problems=(404,))
    async def disable_agent(name: Name) -> Response:
        """Give it no more work."""
        return answer(await ask("agent.enable", name=name, enabled=False))

    @api.change("DELETE", "/agents/{name}", problems=(404,))
    async def remove_agent(name: Name) -> Response:
        """Forget it. Adding one needs the command line."""
        return answer(await ask("agent.remove", name=name))

    return api.router


def _peers(ask: Asker) -> APIRouter:
    api = Routes("peers")

    @api.get("/peers", model=models.Peers)
    async def peers() -> Response:
        """The nodes that this one is connected to."""
        return answer(await ask("peers"))

    @api.get("/peers/scores", model=models.Standings, problems=(404,))
    async def peer_scores(peer: Annotated[str | None, Query(max_length=128)] = None) -> Response:
        """What this node thinks of a peer, or of all that something is held against."""
        return answer(await ask("peers.score", peer=peer))

    @api.get("/peers/access", model=models.Access)
    async def peer_access() -> Response:
        """Who is always let in, and who never."""
        return answer(await ask("peers.access"))

    @api.change("PUT", "/peers/access", model=models.Access)
    async def set_peer_access(spec: AccessSpec) -> Response:
        """Let a peer or network in always, never, or as any other."""
        return answer(await ask("peers.access", entry=spec.entry, verdict=spec.verdict))

    @api.change("PUT", "/peers/{peer}/ban", problems=(404,))
    async def ban_peer(peer: Peer, spec: BanSpec) -> Response:
        """Cut a peer off for a time; kept over restarts."""
        return answer(await ask("peers.ban", peer=peer, for_s=spec.for_s, reason=spec.reason))

    @api.change("DELETE", "/peers/{peer}/ban", problems=(404,))
    async def unban_peer(peer: Peer) -> Response:
        """Let it come back, and forget its faults."""
        return answer(await ask("peers.unban", peer=peer))

    @api.get("/net", model=models.Net)
    async def net() -> Response:
        """How finding peers goes, and how this node is reached."""
        return answer(await ask("net"))

    return api.router


def _policy(ask: Asker) -> APIRouter:
    api = Routes("policy")

    @api.get("/policy", model=models.Policy)
    async def policy() -> Response:
        """Which policy is in force, pending, stored and offered, and what its gates said."""
        return answer(await ask("policy.list"))

    @api.change("POST", "/policy/fetch", problems=(404,))
    async def fetch_policy(spec: CapsuleSpec) -> Response:
        """Get a signed policy (capsule) from peers."""
        return answer(await ask("policy.fetch", cid=spec.cid))

    @api.change("POST", "/policy/activate", problems=(404, 409))
    async def activate_policy(spec: ActivateSpec) -> Response:
        """Put a stored policy in force."""
        return answer(await ask("policy.activate", cid=spec.cid, at_lamport=spec.at_lamport))

    @api.change("POST", "/policy/rollback", problems=(409,))
    async def roll_policy_back() -> Response:
        """Back to the policy before; a switch that is pending is off."""
        return answer(await ask("policy.rollback"))

    return api.router
