"""share/cgfs.8 says what the commands and their options are."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cgfs.cli import cgfs

PAGE = (Path(__file__).parents[2] / "share" / "cgfs.8").read_text()
IN_ALL = {"debug", "help"}
"""Options of every command, which the page names once."""


def synopses() -> dict[str, str]:
    """What follows each `.Nm cgfs COMMAND` in the synopsis."""
    section = PAGE.partition(".Sh SYNOPSIS\n")[2].partition(".Sh")[0]
    found = re.split(r"^\.Nm cgfs (.*)\n", section, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cgfs)
    for name in cgfs.list_commands(context):
        command = cgfs.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


def test_the_synopsis_has_every_command_and_no_other() -> None:
    assert sorted(synopses()) == sorted(name for name, _ in commands())


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_the_synopsis_has_every_option_of_a_command(name: str, command: click.Command) -> None:
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in IN_ALL]
    documented = set(re.findall(r"Fl (-?\S+)", synopses()[name]))
    assert documented == {option.removeprefix("-") for each in options for option in each.opts}
