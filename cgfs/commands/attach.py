"""`cgfs attach`: attach a program to a cgroup through its control file."""

from pathlib import Path

import click

from cgfs.commands.arguments import cgroup_argument, hook_argument, mode_options
from cgfs.control import ControlFile, Mode


@click.command("attach")
@cgroup_argument
@hook_argument
@click.argument("program")
@mode_options
def command(cgroup: Path, hook: ControlFile, program: str, mode: Mode) -> None:
    """Attach PROGRAM to CGROUP, a directory of a mirror.

    HOOK is ingress, egress, socket-create, or the control file's name. PROGRAM is an ELF object, FILE.o or
    FILE.o:SECTION, the path of a pinned program, or id:N. The permissions of the control file decide who may.
    """
    from cgfs import client

    overridable, nonrecursive = mode is Mode.OVERRIDABLE, mode is Mode.NONRECURSIVE
    client.attach(cgroup / hook.name, program, overridable=overridable, nonrecursive=nonrecursive)
