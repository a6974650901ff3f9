"""Backups: create, verify, restore."""

from swarmd.node.console.grammar.values import irrevocable
from swarmd.node.console.parser import Commands, Parser


def add(commands: Commands) -> None:
    backup = commands.group(
        "backup", "the whole node in one encrypted file", "swarmd backup create node.swarmd-backup"
    )
    create = backup.add(
        "create",
        "backups:run_create",
        "write the node, its key included, to a new file, while it runs or not",
        "swarmd backup create node.swarmd-backup --passphrase-file ~/.backup-passphrase",
        "It is encrypted with a passphrase, which nobody can give back to you.",
    )
    _file_and_passphrase(create, "the file to write")
    verify = backup.add(
        "verify",
        "backups:run_verify",
        "read all of a backup and replay its journal",
        "swarmd backup verify node.swarmd-backup",
        "Exit code 4 if it is damaged, truncated, or opens with another passphrase.",
    )
    _file_and_passphrase(verify, "a backup")
    restore = backup.add(
        "restore",
        "backups:run_restore",
        "make a new home of a backup",
        "swarmd backup restore node.swarmd-backup --home /srv/swarmd",
        "All of it or nothing. Two nodes must never run with one key: see that the old one is gone for good.",
    )
    _file_and_passphrase(restore, "a backup")
    restore.add_argument(
        "--alone",
        action="store_true",
        help="speak at once: nobody has heard anything of this node since the backup",
    )
    recover = backup.add(
        "recover",
        "backups:run_recover",
        "give a node whose journal is lost, and that has no backup, an empty one",
        "swarmd backup recover",
        "It keeps its key and what it owns: it listens to the mesh, which has what it said, before it speaks. What is left of"
        " the old journal is put aside. A mesh of which it was the only node is gone with the journal.",
    )
    irrevocable(
        recover,
        "what only the journal had is gone: needs that reached nobody, and content that nobody else keeps",
    )
    speak = backup.add(
        "speak",
        "backups:run_speak",
        "let a restored node speak, though it has not heard enough of the others",
        "swarmd backup speak",
        "For when they are gone for good. What it said after the backup and somebody still has, it may contradict.",
    )
    irrevocable(speak, "what it says now may contradict what it said, which cuts it off for good")


def _file_and_passphrase(parser: Parser, meaning: str) -> None:
    parser.add_argument("file", help=meaning)
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="its first line is the passphrase (else SWARMD_BACKUP_PASSPHRASE, else it is asked for)",
    )
