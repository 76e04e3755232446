"""Who may do what with a control file: its permissions decide, by who opened it; and what more a mount may demand."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.mount.conftest import StartOverlay, Twin
from tests.mount.test_attach import line
from tests.support import control, programs
from tests.support.bpftool import attached_ids
from tests.support.child import Child, run
from tests.support.command import in_mount_namespace
from tests.support.control import error_of, opened
from tests.support.daemon import cgfs_command
from tests.support.network import can_create_socket, passes
from tests.support.places import public_directory
from tests.support.programs import ALLOW, CONTROL_FILE, DENY, Hook, fdinfo_id, program
from tests.support.syscalls import Capability
from tests.support.users import ALICE, BOB, ROOT, Identity, Namespaces, delegate

every_hook = pytest.mark.parametrize("hook", Hook)
EGRESS = CONTROL_FILE[Hook.EGRESS]
SOCKET = CONTROL_FILE[Hook.SOCKET_CREATE]

WEAK_ROOT = ROOT.with_capabilities(*(each for each in Capability if each != Capability.NET_ADMIN))
"""Root without CAP_NET_ADMIN."""


@pytest.fixture
def hers(twin: Twin) -> Twin:
    """A cgroup that Alice has made, in one that is delegated to her."""
    delegate(twin.native, ALICE.uid, ALICE.gid)
    run((twin.mirror / "hers").mkdir, identity=ALICE)
    return Twin(twin.native / "hers", twin.mirror / "hers")


def error_as(identity: Identity, function: Callable[..., object], *arguments: object) -> int:
    """The errno with which *function* fails when *identity* calls it, 0 if it does not."""
    return run(partial(error_of, partial(function, *arguments)), identity=identity)


def owner_of(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o7777


# Owner and mode.


def test_delegating_a_directory_leaves_its_own_filter_files_alone(twin: Twin) -> None:
    before = [owner_of(twin.mirror / name) for name in CONTROL_FILE.values()]
    delegate(twin.mirror, ALICE.uid, ALICE.gid)
    assert [owner_of(twin.mirror / name) for name in CONTROL_FILE.values()] == before == [(0, 0, 0o644)] * 3


def test_what_the_delegate_makes_is_hers(hers: Twin) -> None:
    assert [owner_of(hers.mirror / name) for name in CONTROL_FILE.values()] == [(ALICE.uid, ALICE.gid, 0o644)] * 3


def test_who_may_not_write_cannot_open_the_file_for_writing(twin: Twin) -> None:
    path = twin.mirror / EGRESS
    with program(Hook.EGRESS) as prog_fd:
        assert error_as(ALICE, control.attach, path, prog_fd) == errno.EACCES
    assert error_as(ALICE, path.write_text, "none") == errno.EACCES
    assert run(path.read_text, identity=ALICE) == "none\n"


def test_the_owner_changes_the_mode_and_a_member_of_the_group_may_then_attach(hers: Twin) -> None:
    path = hers.mirror / EGRESS
    run(lambda: path.chmod(0o660), identity=ALICE)
    assert owner_of(path) == (ALICE.uid, ALICE.gid, 0o660)
    member = Identity(BOB.uid, BOB.gid, groups=(ALICE.gid,))
    with program(Hook.EGRESS) as prog_fd:
        assert error_as(BOB, control.attach, path, prog_fd) == errno.EACCES
        assert error_as(BOB, path.read_text) == errno.EACCES
        assert error_as(member, control.attach, path, prog_fd) == 0
        assert path.read_text() == line(prog_fd)
    assert owner_of(hers.mirror / SOCKET) == (ALICE.uid, ALICE.gid, 0o644)


@pytest.mark.parametrize("name", [EGRESS, "cgroup.controllers"])
def test_who_may_chown_and_chmod_is_as_for_cgroup2s_own_files(hers: Twin, name: str) -> None:
    path = hers.mirror / name
    grouped = Identity(ALICE.uid, ALICE.gid, groups=(BOB.gid,))
    chowner = BOB.with_capabilities(Capability.CHOWN)
    owner = BOB.with_capabilities(Capability.FOWNER)
    assert error_as(BOB, path.chmod, 0o666) == errno.EPERM
    assert error_as(BOB, os.chown, path, BOB.uid, BOB.gid) == errno.EPERM
    assert error_as(ALICE, os.chown, path, BOB.uid, -1) == errno.EPERM
    assert error_as(ALICE, os.chown, path, -1, BOB.gid) == errno.EPERM
    assert owner_of(path) == (ALICE.uid, ALICE.gid, path.stat().st_mode & 0o7777)
    assert error_as(ALICE, os.chown, path, ALICE.uid, ALICE.gid) == 0
    assert error_as(grouped, os.chown, path, -1, BOB.gid) == 0
    assert error_as(ALICE, path.chmod, 0o640) == 0
    assert error_as(owner, path.chmod, 0o600) == 0
    assert error_as(chowner, os.chown, path, 1002, 1003) == 0
    assert error_as(ALICE, path.chmod, 0o666) == errno.EPERM
    assert owner_of(path) == (1002, 1003, 0o600)


def test_an_open_file_takes_chmod_and_chown(twin: Twin) -> None:
    """As CRIU does on restore: open for writing, fchown, fchmod, one write of the stripped value."""
    path = twin.mirror / SOCKET
    with opened(path, os.O_WRONLY) as fd:
        os.fchown(fd, ALICE.uid, BOB.gid)
        os.fchmod(fd, 0o100600)
        assert os.write(fd, b"families:inet6") == len("families:inet6")
    assert owner_of(path) == (ALICE.uid, BOB.gid, 0o600)
    assert path.read_text() == "families:inet6\n"


def test_one_change_leaves_the_others_as_they_were(twin: Twin) -> None:
    path = twin.mirror / EGRESS
    os.chown(path, -1, 1001)
    path.chmod(0o620)
    os.chown(path, 1000, -1)
    assert owner_of(path) == (1000, 1001, 0o620)
    os.chown(twin.mirror / "cgroup.controllers", 7, 7)
    assert owner_of(path) == (1000, 1001, 0o620)
    assert owner_of(twin.mirror / SOCKET) == (7, 7, 0o644)
    assert path.stat().st_ctime_ns > path.stat().st_mtime_ns


def test_a_delegate_cannot_set_what_the_owner_is_kept_in(hers: Twin) -> None:
    for directory in (hers.mirror, hers.native):
        for name in (f"trusted.cgfs.{EGRESS}", f"trusted.cgfs.{EGRESS}.attributes"):
            assert error_as(ALICE, os.setxattr, directory, name, b"{}") == errno.EPERM


# The permission of the file is the right to attach.


@every_hook
def test_an_owner_without_any_capability_attaches_and_removes_her_own(hers: Twin, hook: Hook) -> None:
    path = hers.mirror / CONTROL_FILE[hook]
    with program(hook) as prog_fd:
        for flags in (0, control.NONRECURSIVE, control.OVERRIDABLE):
            assert error_as(ALICE, control.attach, path, prog_fd, flags) == 0
            assert path.read_text() == line(prog_fd, flags)
            assert passes(hers.native, hook) == {False}
            assert error_as(ALICE, path.write_text, "none") == 0
            assert path.read_text() == "none\n"
    assert passes(hers.native, hook) == {True}


def test_she_removes_what_root_attached_through_the_file(hers: Twin) -> None:
    path = hers.mirror / EGRESS
    with program(Hook.EGRESS) as prog_fd:
        control.attach(path, prog_fd)
    assert error_as(ALICE, path.write_text, "none") == 0
    assert path.read_text() == "none\n"


@pytest.mark.parametrize("who", [ALICE, WEAK_ROOT], ids=["alice", "root without CAP_NET_ADMIN"])
def test_without_cap_net_admin_what_others_attached_stays(hers: Twin, who: Identity) -> None:
    path = hers.mirror / EGRESS
    with (
        program(Hook.EGRESS, ALLOW) as other,
        program(Hook.EGRESS, salt=1) as own,
        program(Hook.EGRESS, ALLOW, salt=2) as linked,
    ):
        control.attach(path, own)
        programs.attach(hers.native, other, Hook.EGRESS)
        assert error_as(who, path.write_text, "none") == errno.EPERM
        assert path.read_text() == line(own) + line(other)
        programs.detach(hers.native, Hook.EGRESS, other)
        with programs.link(hers.native, linked, Hook.EGRESS):
            assert error_as(who, path.write_text, "none") == errno.EPERM
            assert attached_ids(hers.native, Hook.EGRESS) == [fdinfo_id(own), fdinfo_id(linked)]
        assert error_as(who, path.write_text, "none") == 0
        assert path.read_text() == "none\n"


def test_cap_net_admin_alone_removes_what_others_attached(hers: Twin) -> None:
    path = hers.mirror / EGRESS
    with program(Hook.EGRESS) as other:
        programs.attach(hers.native, other, Hook.EGRESS)
    assert error_as(ALICE.with_capabilities(Capability.NET_ADMIN), path.write_text, "none") == 0
    assert path.read_text() == "none\n"


def test_cap_net_admin_in_a_user_namespace_of_her_own_is_none(hers: Twin) -> None:
    """Root of a user namespace, who owns the file there."""
    path = hers.mirror / EGRESS
    with program(Hook.EGRESS) as other:
        programs.attach(hers.native, other, Hook.EGRESS)
        with Child(namespaces=Namespaces(user=True)) as container:
            root = Path(f"/proc/{container.pid}").stat().st_uid
            os.chown(path, root, root)
            assert container.call(error_of_write, path) == errno.EPERM
            assert path.read_text() == line(other)
            programs.detach(hers.native, Hook.EGRESS, other)
            control.attach(path, other)
            assert container.call(error_of_write, path) == 0
    assert path.read_text() == "none\n"


def error_of_write(path: Path, text: str = "none") -> int:
    return error_of(lambda: path.write_text(text))


# The opener counts, whoever has the descriptor.


def opened_by(identity: Identity, path: Path, flags: int) -> int:
    """A descriptor that *identity* opened; the caller closes it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run(lambda: send_opened(theirs, path, flags), identity=identity)
        return socket.recv_fds(ours, 1, 1)[1][0]


def send_opened(channel: socket.socket, path: Path, flags: int) -> None:
    with opened(path, flags) as fd:
        socket.send_fds(channel, [b"d"], [fd])


def test_root_with_her_descriptor_may_do_what_she_may(hers: Twin) -> None:
    path = hers.mirror / EGRESS
    fd = opened_by(ALICE, path, os.O_WRONLY)
    with program(Hook.EGRESS) as other, program(Hook.EGRESS, salt=1) as own:
        programs.attach(hers.native, other, Hook.EGRESS)
        assert error_of(lambda: os.write(fd, b"none")) == errno.EPERM
        control.attach_fd(fd, own)
        assert path.read_text() == line(other) + line(own)
    os.close(fd)


def test_she_with_roots_descriptor_may_do_what_root_may(twin: Twin) -> None:
    path = twin.mirror / EGRESS
    with program(Hook.EGRESS) as other, opened(path, os.O_WRONLY) as fd:
        programs.attach(twin.native, other, Hook.EGRESS)
        assert run(lambda: error_of(lambda: os.write(fd, b"none")), identity=ALICE) == 0
    assert path.read_text() == "none\n"


def test_what_is_open_for_reading_changes_nothing_even_for_root(hers: Twin) -> None:
    path = hers.mirror / EGRESS
    with program(Hook.EGRESS) as prog_fd:
        for who in (ALICE, ROOT):
            fd = opened_by(who, path, os.O_RDONLY)
            assert error_of(partial(control.attach_fd, fd, prog_fd)) == errno.EBADF
            assert error_of(partial(os.write, fd, b"none")) == errno.EBADF
            os.close(fd)
    assert path.read_text() == "none\n"


# What attach_cap demands.


@pytest.fixture
def strictly(start_overlay: StartOverlay, hers: Twin) -> Iterator[Path]:
    """Alice's cgroup on a mirror with attach_cap."""
    with start_overlay(options=("attach_cap",)) as overlay:
        yield overlay.path(hers.native)


def test_with_attach_cap_the_opener_needs_cap_net_admin_to_attach(strictly: Path) -> None:
    path, texts = strictly / EGRESS, strictly / SOCKET
    capable = ALICE.with_capabilities(Capability.NET_ADMIN)
    weak, strong = opened_by(ALICE, path, os.O_WRONLY), opened_by(capable, path, os.O_WRONLY)
    with program(Hook.EGRESS, DENY) as prog_fd:
        for who in (ALICE, WEAK_ROOT):
            assert error_as(who, control.attach, path, prog_fd) == errno.EPERM
            assert error_as(who, texts.write_text, "families:inet") == errno.EPERM
        assert error_of(lambda: control.attach_fd(weak, prog_fd)) == errno.EPERM
        assert path.read_text() == texts.read_text() == "none\n"
        assert run(lambda: error_of(lambda: control.attach_fd(strong, prog_fd)), identity=ALICE) == 0
        assert path.read_text() == line(prog_fd)
        assert error_as(capable, control.attach, path, prog_fd) == 0
        assert error_as(capable, texts.write_text, "families:inet") == 0
    for fd in (weak, strong):
        os.close(fd)
    for each in (path, texts):  # to remove what came through the file, the file is enough
        assert error_as(ALICE, each.write_text, "none") == 0
        assert each.read_text() == "none\n"


def test_without_it_the_permission_of_the_file_is_enough(hers: Twin) -> None:
    """Where the kernel keeps unprivileged users from loading BPF, attach_cap is off unless it is asked for."""
    load_by_anybody = Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text().strip() == "0"
    expected = errno.EPERM if load_by_anybody else 0
    assert error_as(ALICE, (hers.mirror / SOCKET).write_text, "families:inet") == expected
    assert can_create_socket(hers.native, socket.AF_INET6) == load_by_anybody


def test_where_unprivileged_users_may_load_bpf_it_is_on_by_itself(tmp_cgroup: Path) -> None:
    """The setting is another file's in a mount namespace, that of the daemon and of who asks it."""
    script = """
        echo 0 >"$3.setting"
        mount --bind "$3.setting" /proc/sys/kernel/unprivileged_bpf_disabled
        mkdir "$3"
        "$1" mount "$2" "$3"
        trap '"$1" umount "$3"' EXIT
        chmod 666 "$3/net.socket_create_filter"
        cd "$3"
        as_user="setpriv --reuid $4 --clear-groups"
        $as_user sh -c 'echo families:inet >net.socket_create_filter' || echo "refused: $?"
        cat net.socket_create_filter
        echo families:inet >net.socket_create_filter
        cat net.socket_create_filter
        cd /
    """
    mountpoint = public_directory() / "setting-0"
    done = in_mount_namespace(script, *cgfs_command(), str(tmp_cgroup), str(mountpoint), str(ALICE.uid))
    assert (done.returncode, done.stdout) == (0, "refused: 1\nnone\nfamilies:inet\n"), done
