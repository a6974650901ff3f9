"""Quotes: what shows that a verifier runs in an enclave, and who can tell.

There is one form, `software`: an attester's Ed25519 signature over the data and a measurement. It proves that whoever
holds the attester's key vouches for the verifier, and nothing about hardware. Operators name the attesters they trust; by
default nobody, and then every quote is refused. SGX, TDX and SEV quotes are refused as `unknown`: verifying them takes the
vendors' certificate chains and hardware to test against, which this version was not built with.
"""

from collections.abc import Sequence
from typing import Final

import nacl.bindings
import nacl.exceptions
import nacl.signing
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.didkey import did_of, public_key_of
from swarmd.protocol.faults import RemoteFault

SOFTWARE: Final = "software"


class SoftwareAttestation:
    """Verifies quotes of attesters (did:key) that the operator trusts. A `ports.Attestation`."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = frozenset(trusted)

    @property
    def forms(self) -> Sequence[str]:
        return (SOFTWARE,) if self._trusted else ()

    def verify(self, form: str, quote: bytes, data: bytes) -> str:
        if form != SOFTWARE:
            return f"this node has no means to verify a quote of the form {form}"
        try:
            version, attester, measurement, said, signature = decode(quote)
            fields = (type(measurement), type(said), type(signature))
            if version != 1 or fields != (bytes, bytes, bytes) or len(signature) != 64:
                return "it is no software quote"
            key = public_key_of(attester)
        except (RemoteFault, TypeError, ValueError):
            return "it is no software quote"
        if attester not in self._trusted:
            return "its attester is none that this node trusts"
        try:
            nacl.bindings.crypto_sign_open(signature + _signed(measurement, said), key)
        except (nacl.exceptions.BadSignatureError, ValueError):
            return "it is not signed by its attester"
        if said != data:
            return "it is of another verifier, epoch or mesh"
        return ""


def software_quote(attester: nacl.signing.SigningKey, measurement: bytes, data: bytes) -> bytes:
    """What an attester makes: over `data` (32 bytes, of `swarmd verifier attest`) and what it measured."""
    signature = attester.sign(_signed(measurement, data)).signature
    return encode([1, did_of(bytes(attester.verify_key)), measurement, data, signature])


def _signed(measurement: bytes, data: bytes) -> bytes:
    return b"swarmd/quote/software/1\0" + encode([measurement, data])
