"""What a control file looks like and says: to stat, open and read, whoever attached what."""

import errno
import os
import stat
import threading

import pytest

from tests.mount.conftest import Twin
from tests.support import control, programs
from tests.support.bpftool import attached_ids, bpftool, program_tag
from tests.support.child import run
from tests.support.control import error_of, opened
from tests.support.daemon import Overlay
from tests.support.programs import CONTROL_FILE, Hook, fdinfo_tag, program
from tests.support.users import ALICE

every_hook = pytest.mark.parametrize("hook", Hook)


def shown(*prog_fds: int) -> str:
    return "".join(control.shown(prog_fd) for prog_fd in prog_fds)


def test_every_file_of_the_root_is_read(overlay: Overlay) -> None:
    for hook, name in CONTROL_FILE.items():
        content = (overlay.mountpoint / name).read_text()
        expected = [f"bpf:{program_tag(number)}" for number in attached_ids(overlay.source, hook)] or ["none"]
        assert content.splitlines() == expected


@every_hook
def test_a_new_cgroup_reads_none_and_belongs_to_its_maker(twin: Twin, hook: Hook) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    assert path.read_text() == "none\n"
    found = path.stat()
    native = (twin.native / "cgroup.controllers").stat()
    assert stat.S_ISREG(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert (found.st_uid, found.st_gid, found.st_nlink) == (native.st_uid, native.st_gid, 1)
    assert found.st_size == len("none\n")


def test_the_files_have_inode_numbers_of_their_own(twin: Twin) -> None:
    numbers = {path.stat().st_ino for path in twin.mirror.iterdir()} | {twin.mirror.stat().st_ino}
    assert len(numbers) == len(list(twin.mirror.iterdir())) + 1


@every_hook
def test_foreign_attachments_are_shown(twin: Twin, hook: Hook) -> None:
    """By bpf(2), by a link, several, and in the order in which they run."""
    path = twin.mirror / CONTROL_FILE[hook]
    with program(hook) as first, program(hook, salt=1) as second, program(hook, salt=2) as third:
        programs.attach(twin.native, first, hook)
        assert path.read_text() == shown(first)
        with programs.link(twin.native, second, hook):
            programs.attach(twin.native, third, hook)
            assert path.read_text() == shown(first, second, third)
            assert path.read_text().split() == [
                f"bpf:{program_tag(number)}" for number in attached_ids(twin.native, hook)
            ]
            assert path.stat().st_size == len(shown(first, second, third))
        assert path.read_text() == shown(first, third)
        programs.detach(twin.native, hook, first)
        programs.detach(twin.native, hook, third)
    assert path.read_text() == "none\n"


@every_hook
def test_a_program_of_bpftool_is_shown(twin: Twin, hook: Hook) -> None:
    name = {Hook.INGRESS: "cgroup_inet_ingress", Hook.EGRESS: "cgroup_inet_egress"}.get(hook, "cgroup_inet_sock_create")
    path = twin.mirror / CONTROL_FILE[hook]
    with program(hook) as prog_fd:
        number = str(programs.fdinfo_id(prog_fd))
        bpftool("cgroup", "attach", twin.native, name, "id", number, "override")
        assert path.read_text() == f"bpf(overridable):{fdinfo_tag(prog_fd)}\n"
        bpftool("cgroup", "detach", twin.native, name, "id", number)
        assert path.read_text() == "none\n"
        bpftool("cgroup", "attach", twin.native, name, "id", number, "multi")
        assert path.read_text() == shown(prog_fd)


def test_inherited_programs_are_not_shown(twin: Twin) -> None:
    (twin.native / "child").mkdir()
    with program(Hook.EGRESS) as prog_fd:
        programs.attach(twin.native, prog_fd, Hook.EGRESS)
        assert (twin.mirror / "child" / CONTROL_FILE[Hook.EGRESS]).read_text() == "none\n"


def test_reading_needs_nothing_but_permission_to_read(twin: Twin) -> None:
    """Alice has no capability, and the bpf(2) query that the daemon makes for her would be refused to her."""
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with program(Hook.EGRESS) as prog_fd:
        programs.attach(twin.native, prog_fd, Hook.EGRESS)
        assert run(path.read_text, identity=ALICE) == shown(prog_fd)
    path.chmod(0o640)
    with pytest.raises(PermissionError) as caught:
        run(path.read_text, identity=ALICE)
    assert caught.value.errno == errno.EACCES


def test_an_open_file_read_again_from_the_start_shows_the_new_state(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with program(Hook.EGRESS) as prog_fd, opened(path) as fd:
        assert os.pread(fd, 100, 0) == b"none\n"
        programs.attach(twin.native, prog_fd, Hook.EGRESS)
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 100) == shown(prog_fd).encode()
        assert os.read(fd, 100) == b""
        assert os.fstat(fd).st_size == len(shown(prog_fd))
        programs.detach(twin.native, Hook.EGRESS, prog_fd)
        assert os.pread(fd, 100, 0) == b"none\n"


def test_a_reader_sees_one_state_whole_however_small_its_steps(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with program(Hook.EGRESS) as prog_fd, opened(path) as slow, opened(path) as other:
        programs.attach(twin.native, prog_fd, Hook.EGRESS)
        begun = os.read(slow, 3)
        programs.detach(twin.native, Hook.EGRESS, prog_fd)
        rest = b"".join(iter(lambda: os.read(slow, 3), b""))
        assert begun + rest == shown(prog_fd).encode()
        assert os.pread(other, 2, 3) == b"e\n"


def test_no_reader_sees_a_mixture_while_the_filter_changes(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    ended = threading.Event()
    with program(Hook.EGRESS) as one, program(Hook.EGRESS, salt=1) as two:
        states = {"none\n", shown(one), shown(two), shown(one, two)}

        def change() -> None:
            while not ended.is_set():
                programs.attach(twin.native, one, Hook.EGRESS)
                programs.attach(twin.native, two, Hook.EGRESS)
                programs.detach(twin.native, Hook.EGRESS, one)
                programs.detach(twin.native, Hook.EGRESS, two)

        changing = threading.Thread(target=change)
        changing.start()
        try:
            seen = {path.read_text() for _ in range(500)}
        finally:
            ended.set()
            changing.join()
        assert seen <= states


@every_hook
def test_the_times_change_with_the_content(twin: Twin, hook: Hook) -> None:
    path = twin.mirror / CONTROL_FILE[hook]
    with program(hook) as prog_fd:
        before = path.stat()
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        control.attach(path, prog_fd)
        attached = path.stat()
        path.write_text("none")
        after = path.stat()
    times = {found.st_mtime_ns for found in (before, attached, after)}
    assert len(times) == 3
    assert before.st_mtime <= attached.st_mtime <= after.st_mtime


@pytest.mark.parametrize(
    "flags", [os.O_TRUNC, os.O_APPEND, os.O_CREAT, os.O_CREAT | os.O_TRUNC, os.O_SYNC, os.O_NONBLOCK]
)
@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR])
def test_flags_of_an_open_are_accepted_and_change_nothing(twin: Twin, access: int, flags: int) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with control.filtered(twin.mirror, Hook.EGRESS) as shown:
        with opened(path, access | flags) as fd:
            assert path.read_text() == shown
            assert os.fstat(fd).st_size == len(shown)
            os.fsync(fd)
        assert path.read_text() == shown


def test_sizes_and_times_can_be_set_and_mean_nothing(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with control.filtered(twin.mirror, Hook.EGRESS) as shown:
        for size in (0, 1, 4096):
            os.truncate(path, size)
            with opened(path, os.O_RDWR) as fd:
                os.ftruncate(fd, size)
            assert path.read_text() == shown
            assert path.stat().st_size == len(shown)
        os.utime(path)
        os.utime(path, (1, 2))
        assert path.read_text() == shown


def test_there_is_nothing_to_create_and_no_attribute(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.EGRESS]
    with pytest.raises(FileExistsError):
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert os.listxattr(path) == []


@every_hook
def test_open_files_of_a_removed_cgroup_answer_enodev(twin: Twin, hook: Hook) -> None:
    path = twin.mirror / "sub" / CONTROL_FILE[hook]
    path.parent.mkdir()
    with program(hook) as prog_fd, opened(path, os.O_RDWR) as fd:
        assert os.pread(fd, 100, 0) == b"none\n"
        path.parent.rmdir()
        path.parent.mkdir()
        errors = [
            error_of(act)
            for act in (
                lambda: os.pread(fd, 100, 0),
                lambda: os.write(fd, b"none\n"),
                lambda: control.attach_fd(fd, prog_fd),
                lambda: control.attach_fd(fd, prog_fd, control.NONRECURSIVE),
            )
        ]
        assert errors == [errno.ENODEV] * 4
        assert path.read_text() == "none\n"
        assert attached_ids(twin.native / "sub", hook) == []


def test_a_removed_cgroup_has_no_files(twin: Twin) -> None:
    path = twin.mirror / "sub" / CONTROL_FILE[Hook.EGRESS]
    path.parent.mkdir()
    assert path.read_text() == "none\n"
    (twin.native / "sub").rmdir()
    assert error_of(path.read_text) == errno.ENOENT
    assert error_of(path.stat) == errno.ENOENT
