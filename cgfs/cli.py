"""The `cgfs` command: which commands there are, and what every one of them has in common.

Owns the errors' form, one line on stderr, and the exit codes. Each command stands in a module of its own in
cgfs/commands, imported when it is asked for.

Exit codes: 0 it is done; 1 it could not be done; 2 the command line is wrong; 130 interrupted.
"""

import errno
import importlib
import io
import logging
import os
import sys
from dataclasses import dataclass
from typing import NoReturn

import click

from cgfs.errors import describe

COMMANDS = (
    "attach",
    "criu-action",
    "detach",
    "explain",
    "mount",
    "program",
    "restore",
    "save",
    "set",
    "show",
    "tree",
    "umount",
)
"""Each a module of cgfs/commands, which has it as `command`."""


class Commands(click.Group):
    """The group of COMMANDS. Every one of them takes --debug, before its name or after it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cgfs.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *inner):
            if not any(parameter.name == "debug" for parameter in each.params):
                each.params.append(debug_option())
        return command


def debug_option() -> click.Option:
    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().ensure_object(Wishes).debug = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show the traceback of an error.",
    )


@dataclass(slots=True)
class Wishes:
    """What the command line says of all commands."""

    debug: bool = False


class ClosedOutput(io.TextIOBase):
    """A stdout that is closed: who prints is told so."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


@click.command(cls=Commands, params=[debug_option()], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cgfs")
def cgfs() -> None:
    """Control files for the BPF filters of cgroups: a mirror of cgroup2 with three more files in each."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command of *arguments* (default: the command line's) and exit."""
    _run(cgfs, "cgfs", arguments)


def mount_helper() -> None:
    """Be mount.fuse.cgfs, and exit as mount(8) does: 1 the command line is wrong, 8 interrupted, 32 not mounted."""
    from cgfs.commands.mount import helper

    _run(helper, "mount.fuse.cgfs", None, failure=32, misuse=1, interrupted=8)


def _run(
    command: click.Command,
    name: str,
    arguments: list[str] | None,
    *,
    failure: int = 1,
    misuse: int = 2,
    interrupted: int = 130,
) -> NoReturn:
    wishes = Wishes()
    os.umask(os.umask(0o022) | 0o022)  # what a command makes, nobody else may write
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("cgfs: %(message)s"))  # warnings, where there is no log
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - or click shows a wrong command line on stdout
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that have not all signs
    try:
        try:
            code = command.main(arguments, name, standalone_mode=False, obj=wishes)
        finally:
            sys.stdout.flush()  # what is not written is not done
    except click.ClickException as error:
        error.show()
        code = misuse
    except click.Abort:
        code = interrupted
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what could not be written has nowhere to go
        if wishes.debug:
            raise
        if not isinstance(error, BrokenPipeError):  # else the reader of our output has gone: nothing to say
            print(f"cgfs: {describe(error)}", file=sys.stderr)
        code = failure
    sys.exit(code)
