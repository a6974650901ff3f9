"""Proofs: root, make, verify."""

from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    proof = commands.group(
        "proof",
        "show others that something was said in a need's thread",
        "swarmd proof make need-k3v7 FINALIZE",
    )
    root = proof.add(
        "root",
        "proofs:run_root",
        "print the merkle root of a need's thread",
        "swarmd proof root need-k3v7",
        "Nodes that have heard the same envelopes print the same root.",
    )
    root.add_argument("need", help="its id, or the beginning of it")
    make = proof.add(
        "make",
        "proofs:run_make",
        "write the proof that an envelope belongs to a need's thread, and who signed it",
        "swarmd proof make need-k3v7 FINALIZE --out paid.car",
        "The file is a CAR of dag-cbor blocks: ipfs dag import takes it.",
    )
    make.add_argument("need", help="its id, or the beginning of it")
    make.add_argument("envelope", help="its id, the beginning of it, or a kind of which there is one")
    make.add_argument("--out", metavar="FILE", help="the file to write (default: ENVELOPE.proof.car)")
    make.add_argument("--force", action="store_true", help="write over a file that is there")
    verify = proof.add(
        "verify",
        "proofs:run_verify",
        "check a proof, offline: no node and no home are needed",
        "swarmd proof verify paid.car --root bafyreib...",
        "Exit code 1 if it does not hold.",
    )
    verify.add_argument("file", help="a proof")
    verify.add_argument("--root", metavar="CID", help="the root that it must lead to")
    verify.add_argument("--mesh", metavar="HEX", help="the mesh id that it must be signed for")
