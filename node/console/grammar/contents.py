"""Content: add, get, ls, pin, unpin, stat, gc, verify, export, import, migrate."""

import argparse

from swarmd.node.console.grammar.values import patience_s
from swarmd.node.console.parser import Commands

_WHERE = "Through the daemon while it runs, else in the home's folder."
_UNITS = {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "B": 1}


def byte_count(text: str) -> int:
    """`256KiB`, `1MiB`, `2G` or a plain number."""
    upper = text.strip().upper()
    unit = next((unit for unit in _UNITS if upper.endswith(unit)), "")
    try:
        value = int(upper.removesuffix(unit))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 256KiB or 1MiB") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value * _UNITS.get(unit, 1)


def add(commands: Commands) -> None:
    content = commands.group(
        "content", "files and folders by their CIDs (IPFS)", "swarmd content add book.txt"
    )
    _add_and_get(content)
    _pins(content)
    _care(content)
    _cars(content)
    _migration(content)
    _groups(content)


def _add_and_get(content: Commands) -> None:
    adding = content.add(
        "add",
        "contents:run_add",
        "add files, folders or stdin, and pin them",
        "swarmd content add book.txt\n  tar c photos | swarmd content add --name photos.tar -",
        "The CIDs are those of `ipfs add --cid-version=1 --raw-leaves`. " + _WHERE,
    )
    adding.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for stdin")
    adding.add_argument("--name", help="of the pin (default: the path)")
    adding.add_argument("--wrap", action="store_true", help="put all paths into one folder")
    adding.add_argument("--hidden", action="store_true", help="names that begin with a dot, too")
    adding.add_argument("--no-pin", action="store_true", help="leave it to the next garbage collection")
    adding.add_argument(
        "--chunk",
        type=byte_count,
        default=262_144,
        metavar="SIZE",
        help="bytes a block, 1MiB at most (default: 256KiB); another size gives another CID",
    )
    adding.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="DID|GROUP",
        help="seal it to this node and these; may be given again (files and stdin only)",
    )
    get = content.add(
        "get",
        "contents:run_get",
        "write a file or a folder to the disk",
        "swarmd content get bafy.../photos/cat.jpg -o cat.jpg",
        "All of it or nothing. What is not here is fetched from peers.",
    )
    get.add_argument("content", metavar="CID[/PATH]", help="what")
    get.add_argument("-o", "--output", metavar="PATH", help="where to; - for stdout (default: its name)")
    get.add_argument(
        "--max-bytes", type=byte_count, metavar="SIZE", help="refuse more than that (default: 1 TiB)"
    )
    get.add_argument("--unseal", action="store_true", help="open private content that is sealed to this node")
    ls = content.add(
        "ls",
        "contents:run_ls",
        "list what is pinned, or what a folder holds",
        "swarmd content ls bafy.../photos",
    )
    ls.add_argument("content", metavar="CID[/PATH]", nargs="?", help="a folder (default: the pins)")


def _pins(content: Commands) -> None:
    pin = content.add(
        "pin",
        "contents:run_pin",
        "keep content, fetching it first if need be",
        "swarmd content pin bafy... --name book",
    )
    pin.add_argument("content", metavar="CID[/PATH]", help="what")
    pin.add_argument("--direct", action="store_true", help="this block only, nothing that it links to")
    pin.add_argument("--name", help="for people")
    unpin = content.add("unpin", "contents:run_unpin", "let content go", "swarmd content unpin bafy...")
    unpin.add_argument("content", metavar="CID[/PATH]", help="what")


def _care(content: Commands) -> None:
    stat = content.add(
        "stat",
        "contents:run_stat",
        "say what the store holds, or what a CID is",
        "swarmd content stat bafy...",
    )
    stat.add_argument(
        "content", metavar="CID[/PATH]", nargs="?", help="a file, folder or record (default: the store)"
    )
    gc = content.add(
        "gc",
        "contents:run_gc",
        "free what no pin and no need keeps",
        "swarmd content gc --grace 10m",
        "While the node works: a collection takes nothing from it.",
    )
    gc.add_argument(
        "--grace",
        type=patience_s,
        default=3_600.0,
        metavar="TIME",
        help="leave what was put since then, such as 10m or 0 (default: 1h)",
    )
    content.add(
        "verify",
        "contents:run_verify",
        "read every block and hash it",
        "swarmd content verify --json",
        "Exit code 1 if a block does not hash to its CID.",
    )


def _cars(content: Commands) -> None:
    export = content.add(
        "export",
        "contents:run_export",
        "write content as a CAR file, for any IPFS tool",
        "swarmd content export bafy... -o book.car",
    )
    export.add_argument("content", metavar="CID[/PATH]", nargs="+", help="the roots")
    export.add_argument("-o", "--output", metavar="FILE", default="-", help="where to (default: stdout)")
    taken = content.add(
        "import",
        "contents:run_import",
        "take a CAR file in, and pin its roots",
        "swarmd content import book.car",
        "Every block is verified. Versions 1 and 2.",
    )
    taken.add_argument("files", metavar="FILE", nargs="+", help="CAR files; - for stdin")
    taken.add_argument("--name", help="of the pins (default: the file's name)")
    taken.add_argument("--no-pin", action="store_true", help="take the blocks only")


def _migration(content: Commands) -> None:
    migrate = content.add(
        "migrate",
        "migrating:run_migrate",
        "take in a plain file store, whose files are named by their hashes",
        "swarmd content migrate --cas-dir .cas --output-mapping cas_to_ipfs.json --verify",
        "Run it again after an interruption: it goes on where it was. All files are pinned, as one folder. Exit code 1 "
        "if a file's bytes do not hash to its name, or --verify finds one that does not read back.",
    )
    migrate.add_argument("--cas-dir", metavar="DIR", required=True, help="the folder of the file store")
    migrate.add_argument(
        "--output-mapping", metavar="FILE", required=True, help="where to write {hash: CID}, as JSON"
    )
    migrate.add_argument("--verify", action="store_true", help="read everything back and hash it")


def _groups(content: Commands) -> None:
    group = content.group("group", "recipients of private content, by name", "swarmd content group list")
    group.add("list", "contents_private:run_groups", "list groups", "swarmd content group list --json")
    join = group.add(
        "add",
        "contents_private:run_group_add",
        "let nodes read what is sealed to a group from now on",
        "swarmd content group add lab did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    )
    leave = group.add(
        "rm",
        "contents_private:run_group_rm",
        "leave nodes out of what is sealed to a group from now on",
        "swarmd content group rm lab did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "What was sealed before, they can still open: nobody can take that back.",
    )
    for parser in (join, leave):
        parser.add_argument("group", help="its name")
        parser.add_argument("dids", nargs="+", metavar="DID", help="nodes")
