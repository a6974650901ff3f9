"""Takes out of what leaves this host who it is about: keys, tokens, addresses, names, payloads. Pure but for its salt."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_WORDS = "passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|mnemonic|seed"
_SECRET_WORD = re.compile(f"(?i){_WORDS}")

# name -> how a secret or an address of that kind looks. In this order: the first that fits takes the text. Every
# repetition whose start is not anchored is bounded: a line of a log may be long, and made to be slow.
_PATTERNS: Sequence[tuple[str, re.Pattern[str]]] = (
    (
        "private-key",
        re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.{0,10000}?-----END [A-Z ]{0,40}KEY-----", re.S),
    ),
    # all of a URL between :// and the path, with user and password
    ("host", re.compile(r"(?<=://)[^/\s\"'<>,\]]{1,512}")),
    ("query", re.compile(r"(?<=\?)[^\s\"'<>?]{1,4000}")),
    ("bearer", re.compile(r"(?i)(?<=bearer )\s{0,8}[\w.~+/=-]{8,4000}")),
    ("jwt", re.compile(r"\beyJ[\w-]{8,4000}\.[\w-]{8,4000}\.[\w-]{0,4000}")),
    ("ticket", re.compile(r"\bswarm1[0-9a-zA-Z]{20,8000}")),
    # word = value where the word says that the value is nobody's business
    (
        "secret",
        re.compile(
            rf"(?i)(?:{_WORDS})[\w-]{{0,40}}[\"']?\s{{0,4}}[=:]\s{{0,4}}[\"']?([^\s\"',;}}<]{{3,4000}})"
        ),
    ),
    ("did", re.compile(r"\bdid:key:z[1-9A-HJ-NP-Za-km-z]{20,200}")),
    ("peer", re.compile(r"\b(?:12D3KooW|Qm|16Uiu2)[1-9A-HJ-NP-Za-km-z]{30,80}")),
    ("hex", re.compile(r"\b(?:0x)?[0-9a-fA-F]{40,}\b")),
    ("dns", re.compile(r"(?:(?<=/dns/)|(?<=/dns4/)|(?<=/dns6/)|(?<=/dnsaddr/))[^/\s\"',]{1,253}")),
    ("mail", re.compile(r"[\w.+-]{1,64}@[\w.-]{1,253}")),
    ("mac", re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b")),
    ("ip6", re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:])")),
    ("ip4", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")),
    ("cid", re.compile(r"\bba[a-z2-7]{50,200}\b")),
)
# Not about anybody: to be told apart, so that a report says whether a node listens on loopback only.
_COMMON = frozenset(("127.0.0.1", "0.0.0.0", "::1", "localhost", "255.255.255.255", "224.0.0.251"))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Redactor:
    """One for a report: the same value is called the same in all of it, and nowhere else.

    `known`: texts that must not come out whatever they look like (the key's seed, a passphrase, the host's name).
    `pathless`: folder -> what to call it, as the home and the user's.
    """

    def __init__(self, known: Iterable[str], folders: Mapping[str, str] | None = None) -> None:
        self._salt = secrets.token_bytes(16)
        self._known = sorted({text for text in known if len(text) >= 4}, key=len, reverse=True)
        self._folders = sorted((folders or {}).items(), key=lambda pair: len(pair[0]), reverse=True)
        self.counts: dict[str, int] = {}

    def text(self, text: str) -> str:
        for known in self._known:
            if known in text:
                text = text.replace(known, self._name("known", known))
        for folder, name in self._folders:
            text = text.replace(folder, name)
        for kind, pattern in _PATTERNS:
            text = pattern.sub(self._replacing(kind), text)
        return text

    def value(self, value: Any) -> Any:
        """A JSON value with all its texts, the names in maps too, redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._entry(str(key), each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        if isinstance(value, bytes):
            return self._name("bytes", value.hex())
        return value

    def _entry(self, key: str, value: Any) -> Any:
        if isinstance(value, str) and value and _SECRET_WORD.search(key):
            return self._name("secret", value)
        return self.value(value)

    def _replacing(self, kind: str) -> Callable[[re.Match[str]], str]:
        def replace(found: re.Match[str]) -> str:
            whole = found.group()
            if (whole.rpartition(":")[0] if kind == "host" and ":" in whole else whole) in _COMMON:
                return whole
            if kind == "ip6" and not _is_ip(whole):  # a time of day, a name with colons
                return whole
            if found.lastindex:  # only the value of `word = value` goes
                secret = found.group(1)
                start = found.start(1) - found.start()
                return whole[:start] + self._name(kind, secret) + whole[start + len(secret) :]
            return self._name(kind, whole)

        return replace

    def _name(self, kind: str, value: str) -> str:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        # Keyed: who has the report cannot try addresses until one fits.
        digest = hmac.new(self._salt, value.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        return f"<{kind}-{digest[:6]}>"
