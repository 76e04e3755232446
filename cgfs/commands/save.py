"""`cgfs save`: the filters of a subtree as a document on stdout."""

import sys
from pathlib import Path

import click

from cgfs.checkpoint import document
from cgfs.checkpoint.save import save, subtree
from cgfs.commands.arguments import cgroup_argument
from cgfs.progress import progress
from cgfs.store import default_store


@click.command("save")
@cgroup_argument
@click.option("--with-programs", is_flag=True, help="Put the program store's objects into it as well. Needs root.")
def command(cgroup: Path, with_programs: bool) -> None:
    """Write the filters of CGROUP, a directory of a mirror, and of all below it to stdout, as JSON.

    With them go the owners and modes of the control files. `cgfs restore` puts them back.
    """
    cgroups = progress(list(subtree(cgroup)), "saving")
    objects = default_store().objects if with_programs else None
    sys.stdout.write(document.to_json(save(cgroup, cgroups, objects)))
