"""What every command has in common: one line for an error, and the exit codes."""

import errno
import subprocess
import sys

import pytest

from cgfs.cli import COMMANDS
from cgfs.errors import describe


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cgfs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_takes_debug(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "--debug" in done.stdout


def test_a_wrong_command_line_is_exit_code_2() -> None:
    ready_fds = (("--ready-fd", "x"), ("--ready-fd", "3"), ("--foreground", "--ready-fd", "99999999999"))
    for arguments in (("nonsense",), ("mount",), *(("mount", *options, "/mnt") for options in ready_fds)):
        done = run(*arguments)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr


def test_an_error_is_one_line_and_exit_code_1() -> None:
    done = run("mount", "-o", "nonsense", "/mnt")
    assert done.returncode == 1
    assert done.stderr.startswith("cgfs: -o nonsense: no such option; there are ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [("--debug", "mount"), ("mount", "--debug")])
def test_debug_shows_the_traceback(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "-o", "nonsense", "/mnt")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "-o nonsense" in done.stderr


def test_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("cgfs, version ")


def test_an_error_is_described_with_its_path() -> None:
    assert describe(OSError(errno.ENOENT, "No such file or directory", "/x")) == "/x: No such file or directory"
    assert describe(OSError(errno.EBUSY, "in use:\nby you")) == "in use:; by you"
    assert describe(OSError(errno.EBUSY, "é in use", "/\x1b]0;a\x07\udcff")) == "/\\x1b]0;a\\x07\\udcff: é in use"
    assert describe(OSError("only words")) == "only words"
