"""Tokens of the HTTP API: who may do what, until when. Kept hashed in the home, bound to the node's DID."""

import hashlib
import hmac
import json
import math
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from swarmd.node.private_file import write_private
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.faults import LocalFault

TOKENS_FILE = "api-tokens.json"
PREFIX = "swt"
MAX_TOKENS = 1_000
MAX_NAME_CHARS = 64
DEFAULT_TTL_S = 30 * 86_400
MAX_TTL_S = 10 * 366 * 86_400

READ, OPERATE, SPEND = "read", "operate", "spend"
SCOPES = (READ, OPERATE, SPEND)


@dataclass(frozen=True, slots=True)
class Token:
    """A record. `digest` is the SHA-256 of the secret in hex: 256 random bits need no slow hash."""

    id: str
    name: str
    scopes: tuple[str, ...]
    did: str
    digest: str
    created_s: int
    expires_s: int
    revoked_s: int = 0

    def state(self, now_s: float) -> str:
        if self.revoked_s:
            return "revoked"
        return "expired" if now_s >= self.expires_s else "valid"


def check_scopes(value: object) -> tuple[str, ...]:
    """In the order of SCOPES, with `read`, which the others need. LocalFault `bad-args`."""
    if not isinstance(value, list | tuple) or not value or not all(each in SCOPES for each in value):
        raise LocalFault("bad-args", "scopes is a list", fix=f"there are {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in value or scope == READ)


class Tokens:
    """The tokens of a node. Each change is on disk before it counts; a file that cannot be read lets nobody in."""

    def __init__(self, home: Path, did: str) -> None:
        self._path = home / TOKENS_FILE
        self._did = did
        self._found: dict[str, Token] = {token.id: token for token in _load(self._path)}
        self.used_s: dict[str, float] = {}  # token id -> when last, since the daemon began

    def create(
        self, name: str, scopes: Iterable[str], ttl_s: int, now_s: float | None = None
    ) -> tuple[Token, str]:
        """A new token and its text, which nobody can tell again."""
        now = time.time() if now_s is None else now_s
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise LocalFault("bad-args", f"name is text of 1 to {MAX_NAME_CHARS} printable characters")
        if type(ttl_s) is not int or not 0 < ttl_s <= MAX_TTL_S:
            raise LocalFault("bad-args", f"ttl_s is a whole number from 1 to {MAX_TTL_S}")
        checked = check_scopes(list(scopes))
        kept = {key: token for key, token in self._found.items() if token.state(now) == "valid"}
        if any(token.name == name for token in kept.values()):
            raise LocalFault(
                "token-exists", f"a token is named {name} already", fix=f"swarmd token revoke {name}"
            )
        if len(kept) >= MAX_TOKENS:
            raise LocalFault(
                "too-many-tokens", f"there are {MAX_TOKENS}", fix="revoke some: swarmd token list"
            )
        secret = secrets.token_hex(32)
        made = Token(
            secrets.token_hex(6), name, checked, self._did, _digest(secret), int(now), math.ceil(now) + ttl_s
        )
        # What ended makes way once there are too many to look through.
        base = self._found if len(self._found) < MAX_TOKENS else kept
        self._save({**base, made.id: made})
        return made, f"{PREFIX}_{made.id}_{secret}"

    def list(self) -> list[dict[str, Any]]:
        """Newest first, without digests."""
        now = time.time()
        return [
            {
                "id": token.id,
                "name": token.name,
                "scopes": list(token.scopes),
                "did": token.did,
                "created_s": token.created_s,
                "expires_s": token.expires_s,
                "state": token.state(now) if token.did == self._did else "foreign",
                "used_s": self.used_s.get(token.id),
            }
            for token in reversed(self._found.values())
        ]

    def revoke(self, which: str) -> Token:
        """By id, or by the name of a valid one. LocalFault `unknown-token`."""
        now = time.time()
        found = self._found.get(which) or next(
            (t for t in self._found.values() if t.name == which and t.state(now) == "valid"), None
        )
        if found is None:
            raise LocalFault("unknown-token", f"no token {which!r}", fix="see swarmd token list")
        if not found.revoked_s:
            found = replace(found, revoked_s=int(now) or 1)
            self._save({**self._found, found.id: found})
        return found

    def find(self, text: str) -> Token:
        """The valid token of this text. LocalFault `bad-token`, `token-expired`, `token-revoked`."""
        prefix, _, rest = text.partition("_")
        token_id, _, secret = rest.partition("_")
        token = self._found.get(token_id)
        expected = token.digest if token is not None else ""
        if prefix != PREFIX or token is None or not hmac.compare_digest(_digest(secret), expected):
            raise LocalFault("bad-token", "no such token", fix="make one with swarmd token create")
        if token.did != self._did:
            raise LocalFault("bad-token", f"this token is of {token.did}", fix="make one on this node")
        now = time.time()
        state = token.state(now)
        if state != "valid":
            fix = f"swarmd token create {token.name} --scope {' --scope '.join(token.scopes)}"
            raise LocalFault(f"token-{state}", f"the token {token.name} is {state}", fix=fix)
        self.used_s[token.id] = now
        return token

    def valid(self, token_id: str) -> bool:
        """Whether a stream that began with this token may go on."""
        token = self._found.get(token_id)
        return token is not None and token.state(time.time()) == "valid"

    def _save(self, tokens: Mapping[str, Token]) -> None:
        document = {"v": 1, "tokens": [asdict(token) for token in tokens.values()]}
        try:
            write_private(self._path, json.dumps(document, indent=1).encode())
        except OSError as error:
            raise LocalFault(
                "disk-error", f"{self._path}: {error.strerror}", fix="see swarmd doctor"
            ) from None
        self._found = dict(tokens)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _load(path: Path) -> list[Token]:
    try:
        document = parse_json(path.read_bytes())
        if document["v"] != 1:
            raise ValueError("of another version")
        return [Token(**{**each, "scopes": check_scopes(each["scopes"])}) for each in document["tokens"]]
    except FileNotFoundError:
        return []
    except (OSError, BadJson, ValueError, KeyError, TypeError, LocalFault) as error:
        raise LocalFault(
            "bad-tokens", f"{path} cannot be read: {error}", fix="move it away; all tokens are then void"
        ) from None
