"""The API as the daemon composes it: its parts, its operations on the local socket, its task."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import trio
from swarmd.node.api.settings import ApiSettings
from swarmd.node.api.tokens import DEFAULT_TTL_S, SCOPES, Tokens, check_scopes
from swarmd.node.content.repo import ContentRepo
from swarmd.node.local_api import LocalApi, Op
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.faults import LocalFault
from trio import TASK_STATUS_IGNORED, TaskStatus

STATIC = Path(__file__).parent.parent / "dashboard" / "static"


class ApiService:
    """`run` serves while the daemon does, if the API is enabled. LocalFault `bad-config` for unsafe settings."""

    def __init__(self, settings: ApiSettings, home: Path, did: str) -> None:
        settings.check()
        self._home = home
        self._settings = settings
        self._did = did
        self.tokens = Tokens(home, did)
        self._server: Any = None
        self._sessions: Any = None
        self._guard: Any = None
        self._events: Any = None
        if settings.enabled:
            # Here and not in `run`: FastAPI and Pydantic take most of a second, in which nothing else would be served.
            # Not at the top: a node without the API needs neither, nor does whoever only asks for its tokens.
            import_module("swarmd.node.api.app")

    def status(self) -> dict[str, Any]:
        if self._server is None:
            return {"state": "off", "url": "", "error": "", "connections": 0}
        found: dict[str, Any] = self._server.status()
        return {
            **found,
            "refused": dict(self._guard.counters),
            "sessions": len(self._sessions),
            "streams": len(self._events),
        }

    def ops(self) -> Mapping[str, Op]:
        """- `token.create` {name, scopes, ttl_s}: the record, and `token`, its text, this once.
        - `token.list` {}: {"tokens": [...]}. `token.revoke` {token: id or name}: the record.
        - `api.status` {}. `api.login` {scopes?}: {"url"}, good for one browser within a minute.
        """
        return {
            "token.create": self._create,
            "token.list": self._list,
            "token.revoke": self._revoke,
            "api.status": self._status,
            "api.login": self._login,
        }

    async def run(
        self,
        local: LocalApi,
        runner: Runner,
        repo: ContentRepo,
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        if not self._settings.enabled:
            task_status.started()
            return
        from swarmd.node.api.app import Parts, make_app
        from swarmd.node.api.asking import Asker
        from swarmd.node.api.events import EventLog
        from swarmd.node.api.guard import Guard, Place, cookie_name
        from swarmd.node.api.pages import Pages
        from swarmd.node.api.server import ApiServer
        from swarmd.node.api.sessions import Sessions
        from swarmd.node.api.uploads import Uploads

        place = Place(scheme="https" if self._settings.tls else "http")
        sessions = self._sessions = Sessions()
        events = self._events = EventLog(lambda need: _state_of(runner, need))
        app = make_app(
            Parts(
                Asker(local.handle),
                Pages(STATIC),
                sessions,
                place,
                cookie_name(self._did),
                events,
                Uploads(repo, self._home / "scratch", self._settings.max_upload_bytes),
            )
        )
        corrupt: list[Any] = []
        guard = self._guard = Guard(
            app, self._settings, self._did, self.tokens, sessions, place, lambda error: corrupt[0](error)
        )
        server = self._server = ApiServer(guard, self._settings, place)
        corrupt.append(server.on_corrupt)
        runner.watchers.append(events.watch)
        try:
            await server.run(task_status=task_status)
        finally:
            runner.watchers.remove(events.watch)
            self._server = None

    async def _create(self, call: LocalCall) -> Any:
        made, text = self.tokens.create(
            call.args.get("name"),  # type: ignore[arg-type]
            check_scopes(call.args.get("scopes", ["read"])),
            call.args.get("ttl_s", DEFAULT_TTL_S),
        )
        row = next(row for row in self.tokens.list() if row["id"] == made.id)
        return {**row, "token": text}

    async def _list(self, call: LocalCall) -> Any:
        return {"tokens": self.tokens.list()}

    async def _revoke(self, call: LocalCall) -> Any:
        which = call.args.get("token")
        if not isinstance(which, str):
            raise LocalFault("bad-args", "name a token")
        revoked = self.tokens.revoke(which)
        return next(row for row in self.tokens.list() if row["id"] == revoked.id)

    async def _status(self, call: LocalCall) -> Any:
        await trio.lowlevel.checkpoint()
        return self.status()

    async def _login(self, call: LocalCall) -> Any:
        found = self.status()
        if found["state"] != "up":
            raise LocalFault(
                "api-down",
                f"the HTTP API is {found['state']}" + (f": {found['error']}" if found["error"] else ""),
                fix="set api_enabled = true in swarmd.toml"
                if found["state"] == "off"
                else "see swarmd api status",
            )
        scopes = check_scopes(call.args.get("scopes", list(SCOPES)))
        return {"url": f"{found['url']}/login?code={self._sessions.invite(scopes)}", "scopes": list(scopes)}


def _state_of(runner: Runner, need: str) -> str:
    found = runner.state.needs.get(need)
    return found.state() if found is not None else ""
