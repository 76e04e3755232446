"""`cgfs restore`: put back what `cgfs save` wrote."""

import errno
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from cgfs import hierarchy
from cgfs.checkpoint.document import Document, FileState, from_json
from cgfs.checkpoint.restore import Change, apply, plan
from cgfs.commands.arguments import optional_cgroup_argument
from cgfs.control import ControlFile
from cgfs.errors import printable, shortened
from cgfs.progress import progress
from cgfs.store import default_store
from cgfs.store.entry import User
from cgfs.store.objects import ObjectStore, programs_in


@click.command("restore", short_help="Put back what save wrote.")
@click.argument("file", type=click.Path(allow_dash=True))
@optional_cgroup_argument
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
def command(file: str, cgroup: Path | None, dry_run: bool) -> None:
    """Make the control files at and below CGROUP (default: the only mirror) say what the document FILE (-: stdin)
    says.

    All or nothing: what cannot be restored is named before anything is changed. The document's programs are
    added to the program store first, where it has any.
    """
    if file == "-" and sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed", file)
    text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        document = from_json(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, file) from error
    top = hierarchy.only_mirror() if cgroup is None else cgroup
    restore(document, top, dry_run=dry_run)


def restore(document: Document, top: Path, *, dry_run: bool = False) -> None:
    """Restore *document* at *top*, a directory of a mirror. Raises OSError; nothing is changed then."""
    store = default_store()
    user = User(os.geteuid(), frozenset((os.getegid(), *os.getgroups())), override=os.geteuid() == 0)
    brought = {(each.prog_type, each.tag) for content in document.programs.values() for each in programs_in(content)}

    def knows_program(hook: ControlFile, tag: str) -> bool:
        """Only root may look. Who may not is told when he writes the tag, and what was done before is undone."""
        return (hook.prog_type, tag) in brought or os.geteuid() != 0 or store.knows(hook, tag, user)

    changes = plan(document, top, knows_program)
    if dry_run:
        for change in changes:
            _show(change)
        return
    with ExitStack() as undo:
        _add_programs(document, store.objects, undo)
        apply(progress(changes, "restoring"))
        undo.pop_all()


def _add_programs(document: Document, objects: ObjectStore, undo: ExitStack) -> None:
    """Put the document's programs into the store; those that were not there before go again with *undo*."""
    there = set(objects.digests())
    for digest, content in document.programs.items():
        if digest not in there:
            objects.add(content)
            undo.callback(_forget, objects, digest)


def _forget(objects: ObjectStore, digest: str) -> None:
    with suppress(FileNotFoundError):
        objects.remove(digest)


def _show(change: Change) -> None:
    print(printable(str(change.path)))
    for sign, state in (("-", change.before), ("+", change.after)):
        print(f"  {sign} {_in_words(state)}")


def _in_words(state: FileState) -> str:
    lines = " and ".join(shortened(line) for line in state.content.splitlines())
    return f"{lines}  (uid {state.uid}, gid {state.gid}, mode {state.mode:04o})"
