"""`cgfs detach`: write `none` to a control file."""

from pathlib import Path

import click

from cgfs.commands.arguments import cgroup_argument, hook_argument
from cgfs.control import ControlFile


@click.command("detach", short_help="Remove a cgroup's filter.")
@cgroup_argument
@hook_argument
def command(cgroup: Path, hook: ControlFile) -> None:
    """Remove what is attached to CGROUP, a directory of a mirror, at HOOK: ingress, egress or socket-create.

    Root removes whatever is there; others what came through the control file.
    """
    from cgfs import client

    client.detach(cgroup / hook.name)
