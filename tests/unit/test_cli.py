"""What every command has in common: one line for an error, and the exit codes."""

import errno
import os
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
    ready_fds = (
        ("--ready-fd", "x"),
        ("--ready-fd", "3"),
        ("--foreground", "--ready-fd", "99999999999"),
        ("--foreground", "--ready-fd", "77"),
    )
    mounts = (*ready_fds, ("-o", "nonsense"), ("-o", "suid"), ("/one", "/two"))
    for arguments in (
        ("nonsense",),
        ("mount",),
        *(("mount", *options, "/mnt") for options in mounts),
        ("mount", ""),
        ("umount", ""),
        ("detach", "", "egress"),
        ("save", ""),
        ("tree", ""),
        ("program", "add", ""),
        ("program", "add", "--mode", "999", "x.o"),
        ("program", "add", "--mode", "\u0666", "x.o"),
        ("program", "add", "--owner", "nobody-here", "x.o"),
    ):
        done = run(*arguments)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
        assert "\nError: " in done.stderr


def test_an_error_is_one_line_and_exit_code_1() -> None:
    done = run("restore", "/missing.json", "/mnt")
    assert done.returncode == 1
    assert done.stderr.startswith("cgfs: /mnt is on no mirror: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [("--debug", "show"), ("show", "--debug"), ("program", "show", "--debug")])
def test_debug_shows_the_traceback(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "/missing")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "/missing" in done.stderr


@pytest.mark.parametrize("output", ["/dev/full", None])
def test_what_cannot_be_written_is_an_error(output: str | None) -> None:
    """Python itself would end with 0, or with 120 and many words."""
    command = f"exec {sys.executable} -m cgfs --version >{output or '&-'}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("cgfs: ")
    assert done.stderr.count("\n") == 1


def test_a_wrong_command_line_is_not_explained_in_what_stdout_is_for() -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m cgfs save --bad 2>&-"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("none", "/mnt", "-o", "bogus"), 1),
        (("none", "/mnt", "-s", "-f", "-o", "bogus"), 0),
        (("none",), 1),
        (("none", "/missing"), 32),
    ],
)
def test_the_mount_helper_has_the_exit_codes_of_mount(arguments: tuple[str, ...], code: int) -> None:
    command = [sys.executable, "-c", "from cgfs.cli import mount_helper; mount_helper()", *arguments]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == code


@pytest.mark.parametrize(
    ("words", "completed"),
    [("cgfs cri", "criu-action"), ("cgfs explain /run/cgfs e", "egress")],
    ids=["command", "hook"],
)
def test_a_shell_completes(words: str, completed: str) -> None:
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_CGFS_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "cgfs"], capture_output=True, text=True, check=False, env={**os.environ, **typed}
    )
    assert done.stdout == f"plain,{completed}\n"


def test_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("cgfs, version ")


def test_an_error_is_described_with_its_path() -> None:
    assert describe(OSError(errno.ENOENT, "No such file or directory", "/x")) == "/x: No such file or directory"
    assert describe(OSError(errno.EBUSY, "in use:\nby you")) == "in use:; by you"
    assert describe(OSError(errno.EBUSY, "é in use", "/\x1b]0;a\x07\udcff")) == "/\\x1b]0;a\\x07\\udcff: é in use"
    assert describe(OSError("only words")) == "only words"
