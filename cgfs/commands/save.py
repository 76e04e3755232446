"""`cgfs save`: the filters of a subtree as a document on stdout."""

import sys
from pathlib import Path

import click

from cgfs.checkpoint import document
from cgfs.checkpoint.save import missing_programs, save
from cgfs.commands.arguments import cgroup_argument
from cgfs.hierarchy import subtree
from cgfs.progress import progress
from cgfs.store import default_store


@click.command("save", short_help="Write the filters of a subtree to stdout.")
@cgroup_argument
@click.option(
    "--with-programs", is_flag=True, help="Put the objects that it names into it (`cgfs program add`). Needs root."
)
def command(cgroup: Path, with_programs: bool) -> None:
    """Write the filters of CGROUP, a directory of a mirror, and of all below it to stdout, as JSON.

    With them go the owners and modes of the control files. `cgfs restore` puts them back.
    """
    cgroups = progress(list(subtree(cgroup)), "saving")
    objects = default_store().objects if with_programs else None
    saved = save(cgroup, cgroups, objects)
    for tag in missing_programs(saved, objects) if objects is not None else ():
        words = "is in no object of the program store, so it is not in the document: `cgfs program add FILE.o`"
        click.echo(f"cgfs: bpf:{tag} {words}", err=True)
    sys.stdout.write(document.to_json(saved))
