"""The log: one line for each change of a filter and for each refusal, whatever names other people have chosen."""

import errno
import json
import os
import re
from functools import partial
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.support import control, programs
from tests.support.cgroups import LONG_NAME, deep_cgroups
from tests.support.child import Child, run
from tests.support.control import error_of, opened
from tests.support.daemon import Overlay
from tests.support.programs import CONTROL_FILE, Hook, program
from tests.support.users import ALICE, delegate
from tests.support.waiting import until

EGRESS = CONTROL_FILE[Hook.EGRESS]
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


class Log:
    """What a daemon has logged since this was made."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._begin = len(overlay.log())

    def lines(self, kind: str) -> list[dict[str, str]]:
        """The fields of the lines `filter KIND: ...`, quoted ones as the text that they stand for."""
        found = []
        for line in self._overlay.log()[self._begin :].splitlines():
            _, marker, fields = line.partition(f"INFO filter {kind}: ")
            if marker:
                found.append(
                    {name: json.loads(text) if text[0] == '"' else text for name, text in FIELD.findall(fields)}
                )
        return found

    def one(self, kind: str) -> dict[str, str]:
        until(lambda: self.lines(kind), f"a line of the log about a filter {kind}")
        (line,) = self.lines(kind)
        return line


@pytest.fixture
def log(overlay: Overlay) -> Log:
    return Log(overlay)


@pytest.mark.parametrize("hook", Hook)
def test_an_attach_says_who_where_before_and_after(twin: Twin, log: Log, hook: Hook) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    with program(hook) as prog_fd, Child() as child:
        child.call(control.attach, path, prog_fd)
        command = Path(f"/proc/{child.pid}/comm").read_text().strip()
        assert log.one("changed") == {
            "uid": "0",
            "pid": str(child.pid),
            "command": command,
            "cgroup": str(twin.native),
            "file": CONTROL_FILE[hook],
            "before": "none",
            "after": control.shown(prog_fd).strip(),
        }


def test_a_write_says_who_opened_the_file(twin: Twin, log: Log) -> None:
    delegate(twin.native, ALICE.uid, ALICE.gid)
    run((twin.mirror / "hers").mkdir, identity=ALICE)
    path = twin.mirror / "hers" / CONTROL_FILE[Hook.SOCKET_CREATE]
    with Child(identity=ALICE) as alice:
        alice.call(path.write_text, "families(nonrecursive):inet6\n")
        line = log.one("changed")
        assert (line["uid"], line["pid"]) == (str(ALICE.uid), str(alice.pid))
    assert (line["before"], line["after"]) == ("none", "families(nonrecursive):inet6")


def test_each_change_is_one_line_and_what_changes_nothing_is_none(twin: Twin, log: Log) -> None:
    path = twin.mirror / EGRESS
    with program(Hook.EGRESS) as first, program(Hook.EGRESS, salt=1) as second:
        path.write_text("none")
        control.attach(path, first)
        control.attach(path, first)
        control.attach(path, second)
        os.chmod(path, 0o600)
        path.read_text()
        path.write_text("none")
        path.write_text("none")
        shown = [control.shown(fd).strip() for fd in (first, second)]
    until(lambda: len(log.lines("changed")) >= 3, "three changes are logged")
    assert [(line["before"], line["after"]) for line in log.lines("changed")] == [
        ("none", shown[0]),
        (shown[0], shown[1]),
        (shown[1], "none"),
    ]


def test_who_gives_a_file_away_is_in_the_log(twin: Twin, log: Log) -> None:
    os.chown(twin.mirror / EGRESS, ALICE.uid, ALICE.gid)
    line = log.one("file changed")
    assert (line["uid"], line["cgroup"], line["file"]) == ("0", str(twin.native), EGRESS)
    assert (line["before"], line["after"]) == (
        "uid 0, gid 0, mode 0644",
        f"uid {ALICE.uid}, gid {ALICE.gid}, mode 0644",
    )


def test_several_programs_are_in_one_line(twin: Twin, log: Log) -> None:
    with program(Hook.EGRESS) as other, program(Hook.EGRESS, salt=1) as own:
        programs.attach(twin.native, other, Hook.EGRESS)
        control.attach(twin.mirror / EGRESS, own)
        assert log.one("changed")["after"] == (control.shown(other) + control.shown(own)).strip()


def test_a_long_filter_is_cut(twin: Twin, log: Log) -> None:
    text = "cbpf:1001," + "0 0 0 1," * 1000 + "6 0 0 1"
    (twin.mirror / EGRESS).write_text(text)
    after = log.one("changed")["after"]
    assert after.startswith("cbpf:1001,0 0 0 1,")
    assert after.endswith(f"... ({len(text)} characters)")
    assert len(after) < 300


# Refusals.


def test_removing_what_others_attached_is_refused_with_the_reason(twin: Twin, log: Log) -> None:
    path = twin.mirror / EGRESS
    os.chown(path, ALICE.uid, ALICE.gid)
    with program(Hook.EGRESS) as other:
        programs.attach(twin.native, other, Hook.EGRESS)
        with Child(identity=ALICE) as alice:
            assert alice.call(write_error, path, "none") == errno.EPERM
            line = log.one("refused")
            assert (line["uid"], line["pid"]) == (str(ALICE.uid), str(alice.pid))
        assert (line["cgroup"], line["file"]) == (str(twin.native), EGRESS)
        assert (line["wanted"], line["error"]) == ("none", "EPERM")
        assert control.shown(other).strip() in line["reason"]
    assert log.lines("changed") == []


def write_error(path: Path, text: str) -> int:
    """In a child: the errno of one write."""
    with opened(path, os.O_WRONLY) as fd:
        return error_of(lambda: os.write(fd, text.encode()))


def test_attach_cap_is_refused_with_the_reason(start_overlay: StartOverlay, tmp_cgroup: Path) -> None:
    with start_overlay(options=("attach_cap",)) as overlay, program(Hook.EGRESS) as prog_fd:
        log, path = Log(overlay), overlay.path(tmp_cgroup) / EGRESS
        os.chown(path, ALICE.uid, ALICE.gid)
        assert run(lambda: error_of(lambda: control.attach(path, prog_fd)), identity=ALICE) == errno.EPERM
        line = log.one("refused")
        assert (line["uid"], line["error"]) == (str(ALICE.uid), "EPERM")
        assert "CAP_NET_ADMIN" in line["reason"]


@pytest.mark.parametrize(
    ("flags", "error"), [(control.OVERRIDABLE, "EBUSY"), (control.NONRECURSIVE, "EEXIST")], ids=["mode", "twice"]
)
def test_what_cannot_be_attached_is_refused_with_the_reason(twin: Twin, log: Log, flags: int, error: str) -> None:
    with program(Hook.EGRESS) as prog_fd:
        programs.attach(twin.native, prog_fd, Hook.EGRESS)
        assert error_of(lambda: control.attach(twin.mirror / EGRESS, prog_fd, flags)) == getattr(errno, error)
    line = log.one("refused")
    assert line["error"] == error
    assert line["reason"]


def test_what_is_no_command_is_refused_with_what_would_be_right(twin: Twin, log: Log) -> None:
    assert write_error(twin.mirror / EGRESS, "nonsense\n") == errno.EINVAL
    line = log.one("refused")
    assert (line["wanted"], line["error"]) == ("nonsense\n", "EINVAL")
    assert "bpf:<tag>" in line["reason"]


def test_an_attach_with_unknown_flags_is_refused_with_those_that_there_are(twin: Twin, log: Log) -> None:
    with program(Hook.EGRESS) as prog_fd:
        assert error_of(lambda: control.attach(twin.mirror / EGRESS, prog_fd, 4)) == errno.EINVAL
    line = log.one("refused")
    assert (line["wanted"], line["error"]) == ("attach", "EINVAL")
    assert "CGFS_OVERRIDABLE" in line["reason"]


# Names of other people.

EVIL = [
    "line\\nbreak",
    "esc\x1b[2J",
    "bell\x07",
    'quote" after="x',
    "back\\slash",
    "del\x7f",
    "c1\x9b31m",
    "bidi\u202e",
    "ünïcode",
]


@pytest.mark.parametrize("name", EVIL)
def test_the_name_of_a_cgroup_is_one_word_and_does_nothing(overlay: Overlay, twin: Twin, log: Log, name: str) -> None:
    (twin.mirror / name).mkdir()
    with control.filtered(twin.mirror / name, Hook.EGRESS):
        line = log.one("changed")
    assert line["cgroup"] == str(twin.native / name)
    assert line["file"] == EGRESS
    assert_printable(overlay)


def test_the_name_of_a_cgroup_need_not_be_text(overlay: Overlay, twin: Twin, log: Log) -> None:
    path = Path(os.fsdecode(os.fsencode(twin.mirror) + b"/\xff\xfe"))
    path.mkdir()
    with control.filtered(path, Hook.EGRESS):
        assert log.one("changed")["cgroup"].startswith(str(twin.native))
    assert_printable(overlay)


@pytest.mark.parametrize("name", [b"a b", b"\n", b"\x1b[2J", b'" after="x', b"\xff\xfe", "\u202eevil".encode(), b"\\"])
def test_the_name_of_a_process_is_one_word_and_does_nothing(
    overlay: Overlay, twin: Twin, log: Log, name: bytes
) -> None:
    with program(Hook.EGRESS) as prog_fd, Child() as child:
        child.call(attach_as, name, twin.mirror / EGRESS, prog_fd)
    line = log.one("changed")
    assert set(line) == {"uid", "pid", "command", "cgroup", "file", "before", "after"}
    assert line["after"] != "x"
    assert_printable(overlay)


def attach_as(name: bytes, path: Path, prog_fd: int) -> None:
    Path("/proc/self/comm").write_bytes(name)
    control.attach(path, prog_fd)


def assert_printable(overlay: Overlay) -> None:
    text = overlay.log_path.read_bytes()
    assert re.fullmatch(rb"[\x20-\x7e\n]*", text), text


def test_the_writer_of_a_descriptor_that_was_handed_on_is_not_the_one_who_is_named(twin: Twin, log: Log) -> None:
    """The opener's rights were used."""
    path = twin.mirror / EGRESS
    with program(Hook.EGRESS) as other, opened(path, os.O_WRONLY) as fd:
        programs.attach(twin.native, other, Hook.EGRESS)
        assert run(partial(error_of, partial(os.write, fd, b"none")), identity=ALICE) == 0
    line = log.one("changed")
    assert (line["uid"], line["pid"]) == ("0", str(os.getpid()))


def test_a_change_in_a_cgroup_whose_path_is_too_long_is_logged(twin: Twin, log: Log) -> None:
    """Longer than the kernel says a path to anybody."""
    with deep_cgroups(twin.native) as depth:
        cgroup = os.open(twin.mirror, os.O_RDONLY)
        for _ in range(depth):
            inner = os.open(LONG_NAME, os.O_RDONLY, dir_fd=cgroup)
            os.close(cgroup)
            cgroup = inner
        file = os.open(CONTROL_FILE[Hook.SOCKET_CREATE], os.O_RDWR, dir_fd=cgroup)
        os.write(file, b"families:inet")
        assert log.one("changed")["cgroup"] == f"(cgroup {os.fstat(cgroup).st_ino}: File name too long)"
        os.write(file, b"none")
        assert os.pread(file, 100, 0) == b"none\n"
        os.close(file)
        os.close(cgroup)
