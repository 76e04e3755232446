"""The C and Python examples of the README work as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

from cgfs.cli import COMMANDS
from tests.mount.conftest import Twin
from tests.support.network import can_create_socket
from tests.support.objects import compile_verdict
from tests.support.programs import ALLOW, Hook

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def example(language: str) -> str:
    """The one code block in *language*."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(block)


def test_the_c_example_attaches_a_filter(twin: Twin, tmp_path: Path) -> None:
    (tmp_path / "attach.c").write_text(example("c"))
    compiler = ["gcc", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "native" / "include")]
    subprocess.run([*compiler, "attach.c", "-o", "attach"], cwd=tmp_path, check=True, timeout=60)
    control = twin.mirror / "net.socket_create_filter"
    subprocess.run([tmp_path / "attach", control], check=True, timeout=60)
    assert control.read_text().startswith("bpf:")
    assert not can_create_socket(twin.native)


def test_the_python_example_attaches_and_detaches(twin: Twin, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(example("python"))
    program = compile_verdict(tmp_path, Hook.EGRESS, ALLOW)
    control = twin.mirror / "net.egress_filter"
    done = subprocess.run(
        [sys.executable, tmp_path / "example.py", control, program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.fullmatch(r"none\nbpf:[0-9a-f]{16}\n", done.stdout)
    assert control.read_text() == "none\n"


def test_every_command_is_in_the_readme() -> None:
    assert [command for command in COMMANDS if f"`cgfs {command}" not in README] == []
