"""`cgfs criu-action`: CRIU's action script for filters."""

import os
from pathlib import Path

import click

from cgfs import criu, hierarchy
from cgfs.commands.arguments import PATH


@click.command("criu-action", short_help="Save and restore filters as CRIU's action script.")
@click.option(
    "--mirror",
    type=PATH,
    help="Where a mirror of all of cgroup2 is mounted.  [default: whichever shows the process's cgroup]",
)
def command(mirror: Path | None) -> None:
    """Be CRIU's action script: `criu dump --action-script 'cgfs criu-action'`, and the same for restore.

    After the dump the filters of the process's cgroup, and of all below it, are saved beside the images as cgfs.json.
    After the restore, before the process runs on, they are put back.
    """
    from cgfs.commands.restore import restore

    def shown_at(path: Path) -> Path:
        return hierarchy.shown_at(path) if mirror is None else mirror / path.relative_to("/")

    criu.act(os.environ, shown_at, restore)
