"""What people type: cat, head, dd, tee and redirections, of coreutils and of busybox, on mirrored and control files."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mount.conftest import Twin
from tests.support import programs
from tests.support.cgroups import cgroup2_mount
from tests.support.child import Child
from tests.support.daemon import Overlay
from tests.support.programs import CONTROL_FILE, Hook

pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True, ids=["passthrough", "direct"])

READERS = {
    "cat": "cat {}",
    "cat from stdin": "cat < {}",
    "busybox cat": "busybox cat {}",
    "busybox cat from stdin": "busybox cat < {}",
    "head": "head -n 1000 {}",
    "busybox head": "busybox head -n 1000 {}",
    "head of bytes": "head -c 100000 {}",
    "tail": "tail -n +1 {}",
    "busybox tail": "busybox tail -n +1 {}",
    "dd": "dd if={} status=none",
    "dd by bytes": "dd if={} bs=1 status=none",
    "busybox dd": "busybox dd if={} 2>/dev/null",
    "dd of many blocks": "dd if={} bs=1M count=1 iflag=fullblock status=none",
    "sed": "sed '' {}",
    "grep": "grep '' {} || :",
    "awk": "awk '{{ print }}' {}",
    "cp": "cp {} /dev/stdout",
    "busybox cp": "busybox cp {} /dev/stdout",
    "the shell": "while IFS= read -r line; do printf '%s\\n' \"$line\"; done < {}",
    "busybox's shell": "busybox sh -c 'while IFS= read -r line; do echo \"$line\"; done < {}'",
}
WRITERS = {
    "echo >": "echo {} > {}",
    "echo >>": "echo {} >> {}",
    "printf >": "printf %s {} > {}",
    "busybox echo >": "busybox sh -c 'echo {} > {}'",
    "busybox echo >>": "busybox sh -c 'echo {} >> {}'",
    "tee": "echo {} | tee {} > /dev/null",
    "tee -a": "echo {} | tee -a {} > /dev/null",
    "busybox tee": "echo {} | busybox tee {} > /dev/null",
    "dd": "echo {} | dd of={} status=none",
    "dd conv=notrunc": "echo {} | dd of={} conv=notrunc status=none",
    "busybox dd": "echo {} | busybox dd of={} 2> /dev/null",
    "cp": "echo {} | cp /dev/stdin {}",
    ">|": "set -C; echo {} >| {}",
    "<>": "echo {} 1<> {}",
}
STEADY = ("cgroup.procs", "cgroup.events", "cgroup.max.depth", "cgroup.type", "cgroup.subtree_control")


def shell(command: str) -> bytes:
    done = subprocess.run(["/bin/sh", "-ec", command], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b""), f"{command}: {done.returncode} {done.stderr!r}"
    return done.stdout


@pytest.mark.parametrize("reader", READERS)
def test_every_file_is_read_whole(twin: Twin, reader: str) -> None:
    with Child(twin.native):
        for name in STEADY:
            expected = (twin.native / name).read_bytes()
            assert shell(READERS[reader].format(twin.native / name)) == expected
            assert shell(READERS[reader].format(twin.mirror / name)) == expected


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("hook", Hook)
def test_every_control_file_is_read_whole(twin: Twin, reader: str, hook: Hook) -> None:
    command = READERS[reader].format(twin.mirror / CONTROL_FILE[hook])
    assert shell(command) == b"none\n"
    with programs.program(hook) as one, programs.program(hook, salt=1) as two:
        for fd in (one, two):
            programs.attach(twin.native, fd, hook)
        tags = "".join(f"bpf:{programs.fdinfo_tag(fd)}\n" for fd in (one, two))
        assert shell(command) == tags.encode()
    programs.detach_everything(twin.native)
    assert shell(command) == b"none\n"


@pytest.mark.parametrize("writer", WRITERS)
def test_every_way_of_writing_sets_a_value(twin: Twin, writer: str) -> None:
    for value in ("7", "max"):
        shell(WRITERS[writer].format(value, twin.mirror / "cgroup.max.depth"))
        assert (twin.native / "cgroup.max.depth").read_text() == value + "\n"


@pytest.mark.parametrize("writer", WRITERS)
def test_every_way_of_writing_none_clears_a_control_file(twin: Twin, writer: str) -> None:
    for hook, name in CONTROL_FILE.items():
        with programs.program(hook) as fd:
            programs.attach(twin.native, fd, hook)
        shell(WRITERS[writer].format("none", twin.mirror / name))
        assert programs.query(twin.native, hook).program_ids == ()
        assert (twin.mirror / name).read_text() == "none\n"


@pytest.mark.parametrize("writer", WRITERS)
def test_every_way_of_writing_moves_a_process(twin: Twin, writer: str) -> None:
    with Child() as child:
        shell(WRITERS[writer].format(child.pid, twin.mirror / "cgroup.procs"))
        assert (twin.native / "cgroup.procs").read_text() == f"{child.pid}\n"


def test_a_shell_moves_itself(twin: Twin) -> None:
    written = shell(
        f"echo $$ > {twin.mirror}/cgroup.procs; grep ^0:: /proc/self/cgroup; cat {twin.mirror}/cgroup.procs"
    )
    line, *pids = written.decode().splitlines()
    assert line == f"0::/{twin.native.name}"
    assert len(pids) >= 1


def test_a_refused_command_is_an_error_of_the_shell_and_changes_nothing(twin: Twin) -> None:
    for name in CONTROL_FILE.values():
        command = f"/bin/echo nonsense > {twin.mirror / name}"
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, timeout=60)
        assert done.returncode != 0
        assert b"Invalid argument" in done.stderr
        assert (twin.mirror / name).read_text() == "none\n"


LISTINGS: tuple[Sequence[str], ...] = (
    ("ls", "-la"),
    ("busybox", "ls", "-la"),
    ("find",),
    ("busybox", "find"),
    ("stat",),
    ("du", "-a"),
    ("tar", "-c", "-f", "/dev/null", "-C"),
)


@pytest.mark.parametrize("command", LISTINGS, ids=" ".join)
def test_listings_work(twin: Twin, command: Sequence[str]) -> None:
    path = [str(twin.mirror)] if command[-1] != "-C" else [str(twin.mirror), "cgroup.procs", "net.ingress_filter"]
    done = subprocess.run([*command, *path], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_root_is_listed_like_any_directory(overlay: Overlay) -> None:
    names = shell(f"busybox ls {overlay.mountpoint}").decode().split()
    assert set(names) - set(CONTROL_FILE.values()) >= {path.name for path in cgroup2_mount().glob("cgroup.*")}


def test_a_copy_of_the_control_files_written_back_is_accepted(twin: Twin, tmp_path: Path) -> None:
    for name in CONTROL_FILE.values():
        shell(f"cp {twin.mirror}/{name} {tmp_path}/{name} && cat {tmp_path}/{name} > {twin.mirror}/{name}")
        assert (twin.mirror / name).read_text() == "none\n"
