"""`cgfs attach`: attach a program to a cgroup through its control file."""

from pathlib import Path

import click

from cgfs.commands.arguments import cgroup_argument, hook_argument
from cgfs.control import ControlFile


@click.command("attach")
@cgroup_argument
@hook_argument
@click.argument("program")
@click.option("--overridable", is_flag=True, help="A cgroup below may replace it there with a filter of its own.")
@click.option("--nonrecursive", is_flag=True, help="It holds for this cgroup only, and not for those below.")
def command(cgroup: Path, hook: ControlFile, program: str, overridable: bool, nonrecursive: bool) -> None:
    """Attach PROGRAM to CGROUP, a directory of a mirror.

    HOOK is ingress, egress, socket-create, or the control file's name. PROGRAM is an ELF object, FILE.o or
    FILE.o:SECTION, the path of a pinned program, or id:N. The permissions of the control file decide who may.
    """
    from cgfs import client

    client.attach(cgroup / hook.name, program, overridable=overridable, nonrecursive=nonrecursive)
