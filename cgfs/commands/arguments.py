"""What several commands take, checked as the command line is read: paths, CGROUP, HOOK, and a filter's mode."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cgfs import hierarchy
from cgfs.control import CONTROL_FILES, ControlFile, Mode, by_hook


class _Path(click.Path):
    """A path, but not the empty one: Path("") would be the current directory, and a script's variable may be unset."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("a path that is empty; '.' is the current directory", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)


def _cgroup(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    return None if value is None else hierarchy.cgroup_at(value)


def _hook(ctx: click.Context, parameter: click.Parameter, value: str | None) -> ControlFile | None:
    try:
        return None if value is None else by_hook(value)
    except OSError as error:
        raise click.BadParameter(str(error.strerror)) from error


def _hooks(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For the shell."""
    return [file.hook for file in CONTROL_FILES if file.hook.startswith(incomplete)]


cgroup_argument = click.argument("cgroup", type=PATH, callback=_cgroup)
optional_cgroup_argument = click.argument("cgroup", type=PATH, callback=_cgroup, required=False)
hook_argument = click.argument("hook", callback=_hook, shell_complete=_hooks)
optional_hook_argument = click.argument("hook", callback=_hook, shell_complete=_hooks, required=False)


def mode_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options --overridable and --nonrecursive, as one argument *mode*."""

    @click.option("--overridable", is_flag=True, help="A cgroup below may replace it there with a filter of its own.")
    @click.option("--nonrecursive", is_flag=True, help="It holds for this cgroup only, and not for those below.")
    @functools.wraps(function)
    def with_mode(*, overridable: bool, nonrecursive: bool, **others: object) -> None:
        try:
            mode = Mode.of(overridable=overridable, nonrecursive=nonrecursive)
        except OSError as error:
            raise click.UsageError(str(error.strerror)) from error
        function(mode=mode, **others)

    return with_mode
