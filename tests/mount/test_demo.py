"""scripts/demo: the transcript of the proposal, with another end."""

import re
import subprocess
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "scripts" / "demo"


@pytest.fixture(scope="module")
def transcript(cgroup2: Path) -> str:
    before = set(cgroup2.iterdir())
    done = subprocess.run([DEMO], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert not [path for path in set(cgroup2.iterdir()) - before if path.name.startswith("cgfs-demo")]
    return done.stdout


def output_of(transcript: str, command: str) -> list[str]:
    """What each call of *command* printed in the transcript."""
    parts = transcript.split(f"\n# {command}\n")[1:]
    return [re.split(r"\n\n(?:# |    )", part)[0].strip() for part in parts]


def test_the_files_say_none_and_then_the_program(transcript: str) -> None:
    first, attached, last = output_of(transcript, "cat cg2/nosockets/net.socket_create_filter")
    assert first == last == "none"
    assert attached.startswith("bpf:")


def test_the_ping_does_not_go_out_of_the_container_until_the_outer_filter_is_gone(transcript: str) -> None:
    ping = "echo $$ > cg2/nosockets/sockets/cgroup.procs; ping -c 1 127.0.0.1"
    refused, sent = output_of(transcript, ping)
    assert "Operation not permitted" in refused
    assert "1 received" in sent


def test_the_demo_leaves_no_mount(transcript: str) -> None:
    assert "# cgfs umount cg2" in transcript
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if "/cg2 fuse.cgfs" in line]
