"""`WasmGate`: the PolicyGate over a compiled policy, its data and a pool of instances."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from swarmd.node.policy.instance import Instance
from swarmd.node.policy.modules import engine_version, load_module
from swarmd.node.policy.verdicts import (
    Answer,
    Denied,
    Digests,
    canonical_input,
    canonical_json,
    make_answer,
    parse_result,
    policy_hash,
)
from swarmd.node.ports import Verdict
from swarmd.protocol.faults import Fault, LocalFault

ENTRYPOINT: Final = "swarm/policy/verdict"
DEFAULT_GAS_LIMIT: Final = 1_000_000
MAX_DATA_BYTES: Final = 4 * 1_048_576
_MAX_REMEMBERED: Final = 1_024


class WasmGate:
    """Judges facts with one policy. `evaluate` never raises: whatever goes wrong is a deny with its reason.

    `wasm` is a module that `policies/build.sh` (OPA) made, `data` its data document. With a `cache_dir`
    (private to this user) the compiled code is kept, and the next start takes under a millisecond instead of
    a tenth of a second. `limited`: compile it in a process with limits. LocalFault `policy-...` when the policy cannot be used at all.
    """

    def __init__(
        self,
        wasm: bytes,
        data: Mapping[str, Any],
        cache_dir: Path | None = None,
        gas_limit: int = DEFAULT_GAS_LIMIT,
        *,
        limited: bool = False,
    ) -> None:
        if not 0 < gas_limit <= 1 << 40:
            raise LocalFault("policy-gas", f"a gas limit of {gas_limit}", fix=f"use {DEFAULT_GAS_LIMIT}")
        try:
            self._data = canonical_json(data)
        except (ValueError, TypeError) as error:
            raise LocalFault("policy-data", f"not JSON: {error}", fix="mend the data document") from None
        if len(self._data) > MAX_DATA_BYTES:
            raise LocalFault(
                "policy-data", f"{len(self._data)} bytes; at most {MAX_DATA_BYTES}", fix="trim the data"
            )
        self._module = load_module(wasm, cache_dir, limited=limited)
        self._gas_limit = gas_limit
        self._engine = engine_version()
        self._policy_hash = policy_hash(wasm, self._data, gas_limit, self._engine)
        self._wasm_hash, self._data_hash = sha256(wasm).digest(), sha256(self._data).digest()
        self._digests = Digests(self._policy_hash, self._engine)
        # A policy has few different answers: the same bytes are parsed once.
        self._answers: dict[bytes, Answer] = {}
        self._idle = [Instance(self._module, self._data, ENTRYPOINT)]

    @property
    def policy_hash(self) -> bytes:
        """32 bytes naming this policy as it is run: module, data, gas limit and engine version."""
        return self._policy_hash

    @property
    def wasm_hash(self) -> bytes:
        """SHA-256 of the module, the same on every engine."""
        return self._wasm_hash

    @property
    def data_hash(self) -> bytes:
        """SHA-256 of the canonical data."""
        return self._data_hash

    @property
    def engine_version(self) -> str:
        """What the gas of a verdict depends on besides the policy; a part of its digest."""
        return self._engine

    @property
    def gas_limit(self) -> int:
        return self._gas_limit

    def evaluate(self, gate: str, facts: Mapping[str, Any]) -> Verdict:
        """The verdict on `facts` at `gate` ("preflight", "ingress" or "commit"); about 20 us."""
        document, gas = b"", 0
        try:
            document = canonical_input(gate, facts)
            answer, gas = self._judge(document)
        except Denied as denied:
            answer, gas = make_answer(False, (denied.reason,)), denied.gas
        except Fault as fault:
            answer = make_answer(False, (fault.code,))
        except Exception:
            # Fail closed: the port promises a verdict, and no policy or input may end the daemon (P10).
            # Nothing here awaits, so no cancellation passes through.
            answer = make_answer(False, ("host-error",))
        digest = self._digests.digest(document, answer, gas)
        return Verdict(answer.allow, answer.reasons, gas, digest, answer.obligations)

    def evaluate_many(self, gate: str, facts: Iterable[Mapping[str, Any]]) -> list[Verdict]:
        """`evaluate` of each, in order: an ingress batch in one call."""
        evaluate = self.evaluate
        return [evaluate(gate, each) for each in facts]

    def _judge(self, document: bytes) -> tuple[Answer, int]:
        # Popping and appending are atomic, so threads take different instances.
        try:
            instance = self._idle.pop()
        except IndexError:
            instance = Instance(self._module, self._data, ENTRYPOINT)
        evaluation = instance.evaluate(document, self._gas_limit)  # raises Denied: the instance is dropped
        if evaluation.reusable:
            self._idle.append(instance)
        answer = self._answers.get(evaluation.result)
        if answer is None:
            try:
                answer = parse_result(evaluation.result)
            except Denied as denied:
                raise Denied(denied.reason, denied.detail, gas=evaluation.gas) from None
            if len(self._answers) < _MAX_REMEMBERED:
                self._answers[evaluation.result] = answer
        return answer, evaluation.gas
