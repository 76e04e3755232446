"""`cgfs program`: the program store, where `bpf:<tag>` finds its programs."""

import errno
import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from cgfs import terminal
from cgfs.commands.arguments import PATH
from cgfs.errors import printable
from cgfs.store import default_store
from cgfs.store.entry import Entry, Origin
from cgfs.store.objects import LARGEST_OBJECT


def _mode(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        mode = int(value, 8) if value.isascii() else -1
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"{value!r}: write it in octal, as for chmod: 0600 or 0644")
    return mode


def _user(ctx: click.Context, parameter: click.Parameter, value: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(value)) if value.isascii() and value.isdigit() else pwd.getpwnam(value)
    except (KeyError, OverflowError):
        raise click.BadParameter(f"there is no user {value!r}") from None


@click.group("program", short_help="Keep programs, so that their tags can be written.")
def command() -> None:
    """Keep programs by name, so that `bpf:<tag>` can be written to a control file. Needs root.

    Programs added from an object survive a reboot. Those that were attached through a control file are kept in
    the attacher's name until the reboot.
    """


@command.command("add", short_help="Keep an object, with all its programs.")
@click.argument("object_file", type=PATH, metavar="FILE.o")
@click.option(
    "--mode", default="0600", callback=_mode, help="Who may use it, octal; 0644 is everybody.", show_default=True
)
@click.option("--owner", default="root", callback=_user, metavar="USER", help="Whose it is.", show_default=True)
def add(object_file: Path, mode: int, owner: pwd.struct_passwd) -> None:
    """Keep the object FILE.o, with all its programs for cgroups' filters, and say their tags.

    One that is there already has this owner and mode afterwards.
    """
    store = default_store()
    with object_file.open("rb") as file:
        content = file.read(LARGEST_OBJECT + 1)
    try:
        digest = store.objects.add(content, uid=owner.pw_uid, gid=owner.pw_gid, mode=mode)
    except OSError as error:
        error.filename = error.filename or str(object_file)
        raise
    for entry in store.objects.entries():
        if entry.key.startswith(f"{digest}:"):
            print(f"bpf:{entry.tag}  {entry.prog_type.name.lower()}  {printable(entry.name)}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List all programs, and of each whether it survives a reboot."""
    _print(_entries(), as_json=as_json)


@command.command("show")
@click.argument("name", metavar="TAG|NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show the programs of a tag, or of the name that `list` shows."""
    _print(_named(name), as_json=as_json)


@command.command("remove", short_help="Forget an object, or a pin.")
@click.argument("name", metavar="TAG|NAME")
def remove(name: str) -> None:
    """Forget a program: the object that holds it, with its other programs, or the pin. What is attached stays."""
    store = default_store()
    found = _named(name)
    holders = {(entry.origin, entry.key.partition(":")[0]) for entry in found}
    if len(holders) > 1:
        names = ", ".join(sorted(entry.key for entry in found))
        raise OSError(errno.EINVAL, f"{name} is ambiguous: name one of {names}")
    origin, key = holders.pop()
    (store.objects if origin is Origin.OBJECT else store.pins).remove(key)


def _entries() -> Iterable[Entry]:
    if os.geteuid() != 0:
        raise OSError(errno.EPERM, "only root sees the program store: try it with sudo")
    return default_store().entries()


def _named(name: str) -> list[Entry]:
    wanted = name.removeprefix("bpf:")
    found = [
        entry
        for entry in _entries()
        if wanted in (entry.tag, entry.key) or (entry.origin is Origin.OBJECT and entry.key.startswith(f"{wanted}:"))
    ]
    if not found:
        raise OSError(errno.ENOENT, f"the program store has no {name}: `cgfs program list` shows what it has")
    return found


def _print(entries: Iterable[Entry], *, as_json: bool) -> None:
    if as_json:
        terminal.print_json([_as_json(entry) for entry in entries])
        return
    table = terminal.table("tag", "type", "name", "owner", "mode", "after a reboot", "kept as")
    for entry in entries:
        table.add_row(
            entry.tag,
            entry.prog_type.name.lower(),
            printable(entry.name),
            str(entry.uid),
            f"{entry.mode:04o}",
            "stays" if entry.origin.survives_reboot else "gone",
            entry.key,
        )
    terminal.console().print(table)


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "tag": entry.tag,
        "type": entry.prog_type.name.lower(),
        "name": entry.name,
        "uid": entry.uid,
        "gid": entry.gid,
        "mode": f"{entry.mode:04o}",
        "survives_reboot": entry.origin.survives_reboot,
        "kept_as": entry.key,
    }
