"""From Rego to a policy that this node can load, with the operator's `opa`: the same steps and bytes as make policies."""

import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from swarmd import policies
from swarmd.node.policy.host import ENTRYPOINT
from swarmd.protocol.faults import LocalFault

OPA_VERSION: Final = "1.22.0"  # as in policies/build.sh
OPA_TIMEOUT_S: Final = 60.0
_USES: Final = re.compile(r"^# uses: *(.+)$", re.MULTILINE)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Built:
    """`warning` is "" or why the bytes may differ from those of another machine."""

    wasm: bytes
    uses: tuple[str, ...]
    tests: str
    warning: str


def find_opa(named: str | None) -> Path:
    """`named`, the one on the PATH, or the one that `make policies` installed in this source tree. LocalFault `no-opa`."""
    found = shutil.which(named or "opa")
    beside = Path(__file__).resolve().parents[2] / ".tools" / "bin" / f"opa-v{OPA_VERSION}"
    if found is None and named is None and beside.is_file():
        found = str(beside)
    if found is None:
        raise LocalFault(
            "no-opa",
            f"{named or 'opa'} is not to be found; it compiles Rego",
            fix=f"go install github.com/open-policy-agent/opa@v{OPA_VERSION}, or --opa PATH",
        )
    return Path(found)


def build(folder: Path, opa: Path, also: Sequence[str] = ()) -> Built:
    """Check, test and compile FOLDER/NAME.rego with the policies it uses: those of its line "# uses: a, b" and `also`.

    LocalFault `bad-rego` with what opa says. OPA embeds the paths of its sources, so they are compiled under fixed
    relative ones: equal sources give equal bytes anywhere.
    """
    name = folder.resolve().name
    source = folder / f"{name}.rego"
    if _NAME.fullmatch(name) is None or not source.is_file():
        raise LocalFault(
            "bad-rego", f"{source} does not exist", fix="put the rules of a policy NAME into NAME/NAME.rego"
        )
    uses = _uses(source, also)
    with tempfile.TemporaryDirectory(prefix="swarmd-policy-") as scratch:
        base = Path(scratch)
        _copy(folder, base / name)
        sources = []
        for used in uses:
            _copy_rego(used, base)
            sources.append(f"{used}/{used}.rego")
        _run(opa, base, "check", "--strict", name, *sources)
        tests = ""
        if any(folder.glob("*_test.rego")):
            tests = _run(opa, base, "test", name, *sources).strip().splitlines()[-1]
        bundle = base / "bundle.tar.gz"
        arguments = ["--target", "wasm", "--entrypoint", ENTRYPOINT, "--output", str(bundle)]
        _run(opa, base, "build", *arguments, *sources, f"{name}/{name}.rego")
        with tarfile.open(bundle) as archive:
            file = archive.extractfile("/policy.wasm")
            if file is None:
                raise LocalFault("bad-rego", "opa made no module", fix="see opa build")
            wasm = file.read()
    found = _run(opa, Path("/"), "version").split()[1]
    same = found == OPA_VERSION
    warning = "" if same else f"opa {found}, not {OPA_VERSION}: others may get other bytes"
    return Built(wasm, uses, tests, warning)


def _uses(source: Path, also: Sequence[str]) -> tuple[str, ...]:
    try:
        line = _USES.search(source.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LocalFault("bad-rego", f"{source}: {error}") from None
    named = [each.strip() for each in line[1].split(",")] if line else []
    uses = tuple(dict.fromkeys((*named, *also))) or (() if source.stem in policies.names() else ("base",))
    unknown = [each for each in uses if each not in policies.names()]
    if unknown:
        raise LocalFault(
            "no-such-policy",
            f"no policy {', '.join(unknown)} ships",
            fix=f"there are {', '.join(policies.names())}",
        )
    return uses


def _copy_rego(name: str, base: Path) -> None:
    (base / name).mkdir()
    (base / name / f"{name}.rego").write_bytes(policies.rego(name))


def _copy(folder: Path, target: Path) -> None:
    """Rego, data and samples: what opa reads; nothing else that may lie there."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".rego", ".json"):
            aside = target / path.relative_to(folder)
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(path.read_bytes())


def _run(opa: Path, cwd: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [str(opa), *arguments], cwd=cwd, capture_output=True, text=True, timeout=OPA_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalFault("no-opa", f"{opa} did not run: {error}", fix="--opa PATH of one that does") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()) or f"exit code {done.returncode}"
        raise LocalFault("bad-rego", f"opa {arguments[0]}: {said[-4_000:]}", fix="mend the rules")
    return done.stdout
