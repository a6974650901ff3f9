"""Browsers: a code that opens one session, and the cookies of sessions. In memory: they end with the daemon."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from swarmd.protocol.faults import LocalFault

CODE_TTL_S = 60.0
SESSION_TTL_S = 12 * 3_600.0
MAX_CODES = 32
MAX_SESSIONS = 64


@dataclass(frozen=True, slots=True)
class Session:
    """`csrf` is what a page of ours sends with each change: a page of another origin cannot read it."""

    id: str  # of its cookie, hashed
    scopes: tuple[str, ...]
    csrf: str
    expires_s: float


class Sessions:
    def __init__(self, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._codes: dict[str, tuple[tuple[str, ...], float]] = {}
        self._sessions: dict[str, Session] = {}

    def invite(self, scopes: tuple[str, ...]) -> str:
        """A code for one login, good for CODE_TTL_S."""
        code = secrets.token_urlsafe(24)
        while len(self._codes) >= MAX_CODES:
            del self._codes[next(iter(self._codes))]
        self._codes[_hash(code)] = (scopes, self._clock_s() + CODE_TTL_S)
        return code

    def open(self, code: str) -> tuple[Session, str]:
        """Use a code up; the session and its cookie. LocalFault `login-expired`."""
        scopes, until_s = self._codes.pop(_hash(code), ((), 0.0))
        if self._clock_s() >= until_s:
            raise LocalFault(
                "login-expired",
                "this link was used already, or is older than a minute",
                fix="swarmd dashboard prints a new one",
            )
        cookie = secrets.token_urlsafe(32)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        made = Session(_hash(cookie), scopes, secrets.token_urlsafe(24), self._clock_s() + SESSION_TTL_S)
        self._sessions[made.id] = made
        return made, cookie

    def find(self, cookie: str) -> Session:
        """LocalFault `session-expired`."""
        found = self._sessions.get(_hash(cookie))
        if found is None or self._clock_s() >= found.expires_s:
            raise LocalFault(
                "session-expired",
                "you are not logged in any more",
                fix="swarmd dashboard prints a link to log in",
            )
        return found

    def valid(self, session_id: str) -> bool:
        found = self._sessions.get(session_id)
        return found is not None and self._clock_s() < found.expires_s

    def close(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def __len__(self) -> int:
        return len(self._sessions)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
