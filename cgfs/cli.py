"""The `cgfs` command: which commands there are, and what every one of them has in common.

Owns the errors' form, one line on stderr, and the exit codes. Each command stands in a module of its own in
cgfs/commands, imported when it is asked for.

Exit codes: 0 it is done; 1 it could not be done; 2 the command line is wrong; 130 interrupted.
"""

import importlib
import os
import sys
from typing import Any

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
        if not any(parameter.name == "debug" for parameter in command.params):
            command.params.append(debug_option())
        return command


def debug_option() -> click.Option:
    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().meta["cgfs.debug"] = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show the traceback of an error.",
    )


@click.command(cls=Commands, params=[debug_option()], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cgfs")
def cgfs() -> None:
    """Control files for the BPF filters of cgroups: a mirror of cgroup2 with three more files in each."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command of *arguments* (default: the command line's) and exit."""
    context: dict[str, Any] = {}
    try:
        with cgfs.make_context("cgfs", list(sys.argv[1:] if arguments is None else arguments)) as ctx:
            context = ctx.meta
            cgfs.invoke(ctx)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has gone: nothing to say
        sys.exit(1)
    except OSError as error:
        if context.get("cgfs.debug"):
            raise
        print(f"cgfs: {describe(error)}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
