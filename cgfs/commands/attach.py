"""`cgfs attach`: attach a program to a cgroup through its control file."""

from pathlib import Path

import click

from cgfs.commands.arguments import cgroup_argument, hook_argument, mode_options
from cgfs.control import ControlFile, Mode


@click.command("attach", short_help="Attach a program to a cgroup.")
@cgroup_argument
@hook_argument
@click.argument("program")
@mode_options
def command(cgroup: Path, hook: ControlFile, program: str, mode: Mode) -> None:
    """Attach PROGRAM to CGROUP, a directory of a mirror.

    HOOK is ingress, egress, socket-create, or the control file's name. PROGRAM is an ELF object, FILE.o or
    FILE.o:NAME (of the function, or its section), the path of a pinned program, or id:N. To load an object needs
    CAP_BPF and CAP_NET_ADMIN; who may attach, the permissions of the control file decide.
    """
    from cgfs import client

    overridable, nonrecursive = mode is Mode.OVERRIDABLE, mode is Mode.NONRECURSIVE
    client.attach(cgroup / hook.name, program, overridable=overridable, nonrecursive=nonrecursive)
