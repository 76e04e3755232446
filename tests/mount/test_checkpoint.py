"""Save and restore: by `cat`, by the commands, and by CRIU's means."""

import errno
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cgfs.checkpoint.restore import Change, apply
from cgfs.checkpoint.save import file_state
from cgfs.checkpoint.save import save as save_document
from cgfs.commands.restore import restore
from cgfs.criu import cgroup_of
from cgfs.hierarchy import subtree
from tests.mount.conftest import StartOverlay, Twin
from tests.support import control
from tests.support.child import Child, run
from tests.support.command import assert_refused, cgfs, in_mount_namespace, succeed
from tests.support.daemon import Overlay, cgfs_command
from tests.support.hold import held
from tests.support.network import can_create_socket
from tests.support.objects import compile_source
from tests.support.programs import ALLOW_MULTI, CONTROL_FILE, Hook, attach, detach, program
from tests.support.threads import waiting_threads
from tests.support.users import ALICE
from tests.support.waiting import DEADLINE_S, until

EGRESS, SOCKET_CREATE = CONTROL_FILE[Hook.EGRESS], CONTROL_FILE[Hook.SOCKET_CREATE]
DROP_ALL = "cbpf:1,6 0 0 0"


@pytest.fixture
def filtered(twin: Twin) -> Twin:
    """A cgroup with a filter and an owner, and one below it with others."""
    (twin.mirror / "below").mkdir()
    (twin.mirror / SOCKET_CREATE).write_text("families:")
    (twin.mirror / "below" / EGRESS).write_text(DROP_ALL.replace("cbpf:", "cbpf(nonrecursive):"))
    os.chown(twin.mirror / "below" / EGRESS, ALICE.uid, ALICE.gid)
    (twin.mirror / "below" / EGRESS).chmod(0o640)
    return twin


def state_of(cgroup: Path) -> dict[str, tuple[str, int, int, int]]:
    found = {}
    for path in sorted(cgroup.rglob("net.*_filter")):
        status = path.stat()
        key = str(path.relative_to(cgroup))
        found[key] = (path.read_text(), status.st_uid, status.st_gid, status.st_mode & 0o7777)
    return found


def reset(cgroup: Path) -> None:
    for path in cgroup.rglob("net.*_filter"):
        path.write_text("none")
        os.chown(path, 0, 0)
        path.chmod(0o644)


def save(cgroup: Path, file: Path, *options: str) -> dict[str, Any]:
    file.write_text(succeed("save", *options, cgroup))
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_cat_is_a_checkpoint_and_the_same_bytes_are_the_restore(filtered: Twin) -> None:
    before = state_of(filtered.mirror)
    reset(filtered.mirror)
    for name, (content, *_) in before.items():
        (filtered.mirror / name).write_text(content)
    assert {name: state[0] for name, state in state_of(filtered.mirror).items()} == {
        name: state[0] for name, state in before.items()
    }


def test_what_is_saved_is_restored_with_owners_and_modes(filtered: Twin, tmp_path: Path) -> None:
    before = state_of(filtered.mirror)
    save(filtered.mirror, tmp_path / "saved")
    reset(filtered.mirror)
    assert can_create_socket(filtered.native)
    succeed("restore", tmp_path / "saved", filtered.mirror)
    assert state_of(filtered.mirror) == before
    assert not can_create_socket(filtered.native)


def test_restoring_removes_what_was_not_there(filtered: Twin, tmp_path: Path) -> None:
    save(filtered.mirror, tmp_path / "saved")
    (filtered.mirror / EGRESS).write_text(DROP_ALL)
    succeed("restore", tmp_path / "saved", filtered.mirror)
    assert (filtered.mirror / EGRESS).read_text() == "none\n"


def test_what_somebody_else_has_attached_stays_and_is_named(twin: Twin, tmp_path: Path) -> None:
    path = twin.mirror / EGRESS
    path.write_text(DROP_ALL)
    save(twin.mirror, tmp_path / "saved")
    with program(Hook.EGRESS) as prog_fd:
        control.attach(path, prog_fd)  # and so it could be put back
        path.write_text("none")
        attach(twin.native, prog_fd, Hook.EGRESS)
        theirs = path.read_text()
        done = cgfs("restore", tmp_path / "saved", twin.mirror)
        assert (done.returncode, done.stderr) == (
            0,
            f"cgfs: {path}: somebody else has attached {theirs.strip()}, which stays\n",
        )
        assert sorted(path.read_text().splitlines()) == sorted([theirs.strip(), DROP_ALL])
        detach(twin.native, Hook.EGRESS, prog_fd)


def test_a_dry_run_shows_the_difference_and_changes_nothing(filtered: Twin, tmp_path: Path) -> None:
    save(filtered.mirror, tmp_path / "saved")
    reset(filtered.mirror)
    before = state_of(filtered.mirror)
    shown = succeed("restore", "--dry-run", tmp_path / "saved", filtered.mirror)
    assert f"{filtered.mirror / SOCKET_CREATE}\n  - none" in shown
    assert "  + families:  (uid 0, gid 0, mode 0644)" in shown
    assert state_of(filtered.mirror) == before


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("missing", "none\n", "make it first"),
        (".", "bpf:0123456789abcdef\n", "program add"),
        (".", "families:inet\nfamilies:inet6\n", "several hands"),
        (".", "families:unix\n", "families"),
    ],
)
def test_what_cannot_be_restored_is_named_before_anything_is_changed(
    filtered: Twin, tmp_path: Path, path: str, content: str, says: str
) -> None:
    document = save(filtered.mirror, tmp_path / "saved")
    state = {"content": content, "uid": 0, "gid": 0, "mode": "0644"}
    document["cgroups"].setdefault(path, {})[SOCKET_CREATE] = state
    (tmp_path / "saved").write_text(json.dumps(document))
    reset(filtered.mirror)
    before = state_of(filtered.mirror)
    assert_refused(cgfs("restore", tmp_path / "saved", filtered.mirror), "nothing was restored", says)
    assert state_of(filtered.mirror) == before


def test_a_failure_half_way_puts_everything_back(filtered: Twin, tmp_path: Path) -> None:
    """The last cgroup has a program of somebody else, in the other kernel mode: the kernel refuses only there."""
    (filtered.mirror / "zlast").mkdir()
    (filtered.mirror / "zlast" / EGRESS).write_text(DROP_ALL)
    save(filtered.mirror, tmp_path / "saved")
    reset(filtered.mirror)
    (filtered.mirror / "zlast" / SOCKET_CREATE).write_text("families:inet")
    before = state_of(filtered.mirror)
    native = filtered.native / "zlast"
    with program(Hook.EGRESS, 1, salt=31) as fd:
        attach(native, fd, Hook.EGRESS, flags=0)
        try:
            before[f"zlast/{EGRESS}"] = state_of(filtered.mirror)[f"zlast/{EGRESS}"]
            done = cgfs("restore", tmp_path / "saved", filtered.mirror)
            assert done.returncode == 1
            assert state_of(filtered.mirror) == before
        finally:
            detach(native, Hook.EGRESS, fd)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_restore_that_a_signal_ends_puts_everything_back(
    overlay: Overlay, filtered: Twin, tmp_path: Path, number: int
) -> None:
    """It is at the last file when the signal comes, and another one: who lists that directory holds up the change."""
    save(filtered.mirror, tmp_path / "saved")
    reset(filtered.mirror)
    before = state_of(filtered.mirror)
    with held(filtered.native / "below"):
        restoring = subprocess.Popen([*cgfs_command(), "restore", str(tmp_path / "saved"), str(filtered.mirror)])
        try:
            until(lambda: waiting_threads(overlay.pid) >= 1, "the last file's change waits")
            assert (filtered.mirror / SOCKET_CREATE).read_text() == "families:\n"
        finally:
            restoring.send_signal(number)
            restoring.send_signal(signal.SIGTERM)
    assert restoring.wait(DEADLINE_S) != 0
    assert state_of(filtered.mirror) == before


def test_a_signal_after_an_error_does_not_end_the_undoing(filtered: Twin) -> None:
    """It is held back until all is undone. By then it has to be nobody's."""
    path = filtered.mirror / SOCKET_CREATE
    before = file_state(path)

    def one_and_an_error() -> Iterator[Change]:
        yield Change(path, before, replace(before, content="families:inet\n"))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(errno.EBUSY, "refused")

    def restore_one() -> int:
        with pytest.raises(OSError, match="refused"):
            apply(one_and_an_error())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return os.getpid()

    assert run(restore_one) != os.getpid()
    assert file_state(path) == before


def test_programs_go_with_the_document_to_a_machine_that_has_none(twin: Twin, tmp_path: Path) -> None:
    section = '__attribute__((section("cgroup/sock_create"), used))'
    verdict = "((unsigned int *)context)[1] == 47110816"  # no family is; the number makes the tag one of its own
    path = compile_source(tmp_path / "deny.o", f"{section} int deny(void *context) {{ return {verdict}; }}")
    line = succeed("program", "add", path).split()[0]
    try:
        (twin.mirror / SOCKET_CREATE).write_text(line)
        document = save(twin.mirror, tmp_path / "saved", "--with-programs")
        assert len(document["programs"]) == 1
        (twin.mirror / SOCKET_CREATE).write_text("none")
        succeed("program", "remove", line)
        succeed("restore", tmp_path / "saved", twin.mirror)
        assert (twin.mirror / SOCKET_CREATE).read_text() == f"{line}\n"
    finally:
        cgfs("program", "remove", line)


def criu_action(
    images: Path, action: str, pid: int, *options: str | Path, without: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Call the action script as CRIU does, where the mirrors *without* are not to be seen."""
    environment = [f"CRTOOLS_SCRIPT_ACTION={action}", f"CRTOOLS_IMAGE_DIR={images}", f"CRTOOLS_INIT_PID={pid}"]
    hide = "".join(f"umount -l {mirror}; " for mirror in without)
    command = [*cgfs_command(), "criu-action", *map(str, options)]
    return in_mount_namespace(f'{hide}exec env "$@"', *environment, *command)


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def test_crius_action_script_saves_at_the_dump_and_restores_before_the_process_runs(
    overlay: Overlay, filtered: Twin, tmp_path: Path
) -> None:
    before = state_of(filtered.mirror)
    with Child(filtered.native) as child:
        assert_done(criu_action(tmp_path, "pre-dump", child.pid, "--mirror", overlay.mountpoint))
        assert not (tmp_path / "cgfs.json").exists()
        assert_done(criu_action(tmp_path, "post-dump", child.pid, "--mirror", overlay.mountpoint))
    assert (tmp_path / "cgfs.json").stat().st_mode & 0o777 == 0o600
    reset(filtered.mirror)
    with Child(filtered.native) as child:
        assert_done(criu_action(tmp_path, "post-restore", child.pid, "--mirror", overlay.mountpoint))
    assert state_of(filtered.mirror) == before


def test_crius_action_script_finds_a_mirror_that_shows_the_process(
    start_overlay: StartOverlay, overlay: Overlay, filtered: Twin, tmp_path: Path
) -> None:
    """Also one of a part of cgroup2, in which the cgroup has another path."""
    before = state_of(filtered.mirror)
    with start_overlay(source=filtered.native) as part, Child(filtered.native) as child:
        for without in ([part.mountpoint], [overlay.mountpoint], []):
            assert_done(criu_action(tmp_path, "post-dump", child.pid, without=without))
            reset(filtered.mirror)
            assert_done(criu_action(tmp_path, "post-restore", child.pid, without=without))
            assert state_of(filtered.mirror) == before
            (tmp_path / "cgfs.json").unlink()


def test_crius_action_script_says_that_no_mirror_shows_the_process(
    overlay: Overlay, tmp_cgroup: Path, tmp_path: Path
) -> None:
    with Child(tmp_cgroup) as child:
        done = criu_action(tmp_path, "post-dump", child.pid, without=[overlay.mountpoint])
    assert_refused(done, f"/{tmp_cgroup.name}: no mirror shows this cgroup", "cgfs mount")


def test_stages_of_crius_that_are_none_of_ours_ask_for_nothing(tmp_path: Path) -> None:
    stage = {"CRTOOLS_SCRIPT_ACTION": "network-lock", "CRTOOLS_IMAGE_DIR": str(tmp_path), "CRTOOLS_INIT_PID": "x"}
    command = [*cgfs_command(), "criu-action", "--mirror", str(tmp_path)]
    assert subprocess.run(command, check=False, env={**os.environ, **stage}).returncode == 0
    stage["CRTOOLS_SCRIPT_ACTION"] = "post-dump"
    done = subprocess.run(command, check=False, env={**os.environ, **stage}, capture_output=True, text=True)
    assert_refused(done, "CRTOOLS_INIT_PID")


def test_the_filters_of_all_cgroups_are_not_a_process_s(tmp_path: Path) -> None:
    kthreadd = {"CRTOOLS_SCRIPT_ACTION": "post-dump", "CRTOOLS_IMAGE_DIR": str(tmp_path), "CRTOOLS_INIT_PID": "2"}
    command = [*cgfs_command(), "criu-action", "--mirror", str(tmp_path)]
    done = subprocess.run(command, check=False, env={**os.environ, **kthreadd}, capture_output=True, text=True)
    assert_refused(done, "root cgroup")
    assert list(tmp_path.iterdir()) == []


def test_criu_restores_a_file_by_chown_chmod_and_one_write(filtered: Twin) -> None:
    """What cgroup.c of CRIU does to each property: open O_WRONLY, fchown, fchmod, one write of the stripped value."""
    path = filtered.mirror / "below" / EGRESS
    content, uid, gid, mode = state_of(filtered.mirror)[f"below/{EGRESS}"]
    assert len(content) <= 1023
    reset(filtered.mirror)
    fd = os.open(path, os.O_WRONLY)
    try:
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        assert os.write(fd, content.strip().encode()) == len(content.strip())
    finally:
        os.close(fd)
    assert state_of(filtered.mirror)[f"below/{EGRESS}"] == (content, uid, gid, mode)


def test_a_file_of_several_hands_is_no_checkpoint(twin: Twin, tmp_path: Path) -> None:
    (twin.mirror / SOCKET_CREATE).write_text("families:inet")
    with program(Hook.SOCKET_CREATE, 1, salt=32) as fd:
        attach(twin.native, fd, Hook.SOCKET_CREATE, ALLOW_MULTI)
        saved = cgfs("save", twin.mirror)
        assert saved.stderr.startswith(f"cgfs: {twin.mirror / SOCKET_CREATE} cannot be restored: ")
        (tmp_path / "saved").write_text(saved.stdout)
        detach(twin.native, Hook.SOCKET_CREATE, fd)
    done = cgfs("restore", tmp_path / "saved", twin.mirror)
    assert_refused(done, "several hands")


def test_a_subtree_of_any_depth_is_saved(twin: Twin) -> None:
    """Deeper than Python calls itself."""
    depth = 1050
    levels = [twin.native.joinpath(*["d"] * level) for level in range(1, depth + 1)]
    for level in levels:
        level.mkdir()
    try:
        (twin.mirror.joinpath(*["d"] * depth) / SOCKET_CREATE).write_text("families:inet")
        assert len(json.loads(succeed("save", twin.mirror))["cgroups"]) == depth + 1
        assert "families:inet" in succeed("tree", twin.mirror)
    finally:
        for level in reversed(levels):
            level.rmdir()


def test_what_may_not_be_listed_is_not_left_out_in_silence(filtered: Twin) -> None:
    (filtered.native / "below").chmod(0o711)
    with pytest.raises(PermissionError):
        run(lambda: list(subtree(filtered.mirror)), identity=ALICE)


def test_who_has_attached_a_program_restores_it(twin: Twin) -> None:
    """He may not look into the program store, and uses what it keeps in his name."""
    path = twin.mirror / EGRESS
    os.chown(path, ALICE.uid, ALICE.gid)
    with program(Hook.EGRESS) as prog_fd:
        run(lambda: control.attach(path, prog_fd), identity=ALICE)
        shown = control.shown(prog_fd)
    document = run(lambda: save_document(twin.mirror, [twin.mirror]), identity=ALICE)
    path.write_text("none")
    run(lambda: restore(document, twin.mirror), identity=ALICE)
    assert path.read_text() == shown


def test_who_may_not_look_into_the_store_has_all_undone_where_it_lacks_a_program(twin: Twin) -> None:
    for name in (EGRESS, SOCKET_CREATE):
        os.chown(twin.mirror / name, ALICE.uid, ALICE.gid)
    (twin.mirror / EGRESS).write_text(DROP_ALL)
    document = save_document(twin.mirror, [twin.mirror])
    files = document.cgroups["."]
    files[EGRESS] = replace(files[EGRESS], content="none\n")
    files[SOCKET_CREATE] = replace(files[SOCKET_CREATE], content="bpf:0123456789abcdef\n")
    with pytest.raises(OSError, match=r"0123456789abcdef|Invalid"):
        run(lambda: restore(document, twin.mirror), identity=ALICE)
    assert (twin.mirror / EGRESS).read_text() == f"{DROP_ALL}\n"


@pytest.mark.parametrize("name", [b"box\rtwo", b"b\xffad", b"a\xe2\x80\xa8b"])
def test_criu_finds_a_cgroup_whatever_its_name(twin: Twin, name: bytes) -> None:
    cgroup = twin.native / os.fsdecode(name)
    cgroup.mkdir()
    with Child() as child:
        (cgroup / "cgroup.procs").write_text(str(child.pid))
        assert cgroup_of(child.pid).name == os.fsdecode(name)
