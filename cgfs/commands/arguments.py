"""The arguments that several commands take, checked as the command line is read: CGROUP and HOOK."""

from pathlib import Path

import click

from cgfs import hierarchy
from cgfs.control import ControlFile, by_name


def _cgroup(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    return None if value is None else hierarchy.cgroup_at(value)


def _hook(ctx: click.Context, parameter: click.Parameter, value: str) -> ControlFile:
    try:
        return by_name(value)
    except OSError as error:
        raise click.BadParameter(str(error.strerror)) from error


cgroup_argument = click.argument("cgroup", type=click.Path(path_type=Path), callback=_cgroup)
optional_cgroup_argument = click.argument("cgroup", type=click.Path(path_type=Path), callback=_cgroup, required=False)
hook_argument = click.argument("hook", callback=_hook)
