"""Who asks: programs taken from the calling thread, capabilities that count, and names that harm no log."""

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from cgfs.bpf import program_info
from cgfs.caller import Caller, Credentials, open_process_of, open_thread
from cgfs.caller import Capability as OwnCapability
from tests.support import programs
from tests.support.child import Child, run
from tests.support.programs import ALLOW, Hook
from tests.support.syscalls import Capability, CloneFlag, prctl, unshare
from tests.support.users import ALICE, CONTAINER, ROOT, Identity, Namespaces
from tests.support.waiting import until

T = TypeVar("T")

CLONE_FILES = CloneFlag(0x400)
NUMBER = 200
"""The descriptor number that children put their programs at: far from what they have open."""

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
SYS_PIDFD_OPEN = 434


def caller(tid: int, identity: Identity = ROOT) -> Caller:
    return Caller(tid, identity.uid, identity.gid)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# Called in children.


def hold_program(number: int = NUMBER) -> int:
    """Load a program and leave it open as *number*. Its id."""
    with programs.program(Hook.INGRESS, ALLOW) as fd:
        os.dup2(fd, number)
        return program_info(number).id


def hold_socket(number: int = NUMBER) -> None:
    with socket.socket(socket.AF_UNIX) as a_socket:
        os.dup2(a_socket.fileno(), number)


def hold_map(number: int = NUMBER) -> None:
    with programs.a_map() as fd:
        os.dup2(fd, number)


def in_a_thread_of_its_own_files(act: Callable[[], T]) -> tuple[int, T]:
    """Run *act* in a thread that shares no descriptors with its process, and that stays. Its tid, and the result."""
    results: list[tuple[int, T]] = []
    done = threading.Event()

    def live() -> None:
        try:
            unshare(CLONE_FILES)
            results.append((threading.get_native_id(), act()))
        finally:
            done.set()
        threading.Event().wait()

    threading.Thread(target=live, daemon=True).start()
    assert done.wait(30)
    return results[0]


def close_number() -> None:
    os.close(NUMBER)


def start_thread() -> int:
    """A thread that shares its process's descriptors, and that stays. Its tid."""
    tids: list[int] = []
    done = threading.Event()

    def live() -> None:
        tids.append(threading.get_native_id())
        done.set()
        threading.Event().wait()

    threading.Thread(target=live, daemon=True).start()
    assert done.wait(30)
    return tids[0]


def set_name(name: bytes) -> None:
    Path("/proc/self/comm").write_bytes(name)


@pytest.fixture
def child() -> Iterator[Child]:
    with Child() as started:
        yield started


def test_the_program_is_the_callers(child: Child) -> None:
    program_id = child.call(hold_program)
    with caller(child.pid).open_program(NUMBER) as program:
        assert program.info().id == program_id
        assert not os.get_inheritable(program.fd)


def test_the_program_stays_when_the_caller_closes_it_and_dies(child: Child) -> None:
    program_id = child.call(hold_program)
    with caller(child.pid).open_program(NUMBER) as program:
        child.call(close_number)
        child.kill()
        assert program.info().id == program_id


@pytest.mark.parametrize("identity", [ALICE, ALICE.with_capabilities(Capability.NET_ADMIN)])
def test_the_program_of_an_ordinary_user_is_taken(identity: Identity) -> None:
    """Handed to it by somebody else: it could not have loaded it."""
    with programs.program(Hook.INGRESS) as fd:
        os.dup2(fd, NUMBER)
        try:
            with Child(identity=identity) as child, caller(child.pid, identity).open_program(NUMBER) as program:
                assert program.info().id == programs.fdinfo_id(fd)
        finally:
            os.close(NUMBER)


def test_the_program_of_a_container_is_taken() -> None:
    with programs.program(Hook.INGRESS) as fd:
        os.dup2(fd, NUMBER)
        try:
            with Child(namespaces=CONTAINER) as child, caller(child.pid).open_program(NUMBER) as program:
                assert program.info().id == programs.fdinfo_id(fd)
        finally:
            os.close(NUMBER)


def test_what_a_thread_shares_with_its_process_is_found_by_the_thread(child: Child) -> None:
    program_id = child.call(hold_program)
    tid = child.call(start_thread)
    assert tid != child.pid
    with caller(tid).open_program(NUMBER) as program:
        assert program.info().id == program_id


def test_what_is_open_in_the_thread_alone_is_taken_from_it(child: Child) -> None:
    tid, program_id = child.call(in_a_thread_of_its_own_files, hold_program)
    with caller(tid).open_program(NUMBER) as program:
        assert program.info().id == program_id
    with pytest.raises(OSError) as caught:
        caller(child.pid).open_program(NUMBER)
    assert caught.value.errno == errno.EBADF


def test_what_is_closed_in_the_thread_is_not_taken_from_its_process(child: Child) -> None:
    child.call(hold_program)
    tid, _ = child.call(in_a_thread_of_its_own_files, close_number)
    with pytest.raises(OSError) as caught:
        caller(tid).open_program(NUMBER)
    assert caught.value.errno == errno.EBADF


def test_two_threads_have_each_its_own_program_under_one_number(child: Child) -> None:
    ids = {child.pid: child.call(hold_program)}
    for _ in range(2):
        tid, program_id = child.call(in_a_thread_of_its_own_files, hold_program)
        ids[tid] = program_id
    assert len(set(ids.values())) == 3
    for tid, program_id in ids.items():
        with caller(tid).open_program(NUMBER) as program:
            assert program.info().id == program_id


@pytest.mark.parametrize("number", [NUMBER, -1, -(2**31), 2**31 - 1])
def test_what_is_not_open_is_ebadf(child: Child, number: int) -> None:
    with pytest.raises(OSError, match=f"descriptor {number} of thread {child.pid}") as caught:
        caller(child.pid).open_program(number)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("hold", [hold_socket, hold_map])
def test_what_is_no_program_is_einval_and_not_kept(child: Child, hold: Callable[[], None]) -> None:
    child.call(hold)
    before = open_descriptors()
    with pytest.raises(OSError, match="no BPF program") as caught:
        caller(child.pid).open_program(NUMBER)
    assert caught.value.errno == errno.EINVAL
    assert open_descriptors() == before


def test_a_caller_that_is_gone_is_esrch(child: Child) -> None:
    child.call(hold_program)
    child.kill()
    with pytest.raises(ProcessLookupError):
        caller(child.pid).open_program(NUMBER)


def test_a_caller_that_has_died_but_is_not_reaped_is_esrch() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        until(lambda: "State:\tZ" in Path(f"/proc/{pid}/status").read_text(), "the child is dead")
        with pytest.raises(ProcessLookupError):
            caller(pid).open_program(0)
    finally:
        os.waitpid(pid, 0)


def test_a_caller_that_cannot_be_seen_is_eperm() -> None:
    with pytest.raises(PermissionError, match="PID namespace"):
        caller(0).open_program(NUMBER)


def test_a_kernel_without_pidfds_of_threads_gives_the_processes(child: Child) -> None:
    """As before Linux 6.9: pidfd_open() with a flag is EINVAL, which a seccomp filter says here."""
    program_id = child.call(hold_program)
    tid = child.call(start_thread)

    def take() -> int:
        refuse_pidfd_open_with_flags()
        with caller(tid).open_program(NUMBER) as program:
            return program.info().id

    assert run(take) == program_id


def test_a_thread_that_is_gone_is_esrch_by_either_way(child: Child) -> None:
    child.kill()
    for open_it in (open_thread, open_process_of):
        with pytest.raises(ProcessLookupError):
            open_it(child.pid)


def refuse_pidfd_open_with_flags() -> None:
    """From now on, for this process. Source: seccomp(2), struct seccomp_data."""
    nr, low_half_of_flags = 0, 24
    load_word, jump_if_equal, give = 0x20, 0x15, 0x06
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load_word, 0, 0, nr),
            (jump_if_equal, 0, 3, SYS_PIDFD_OPEN),
            (load_word, 0, 0, low_half_of_flags),
            (jump_if_equal, 1, 0, 0),
            (give, 0, 0, SECCOMP_RET_ERRNO | errno.EINVAL),
            (give, 0, 0, SECCOMP_RET_ALLOW),
        )
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize(
    ("identity", "namespaces", "has_it"),
    [
        (ROOT, Namespaces(), True),
        (ROOT, Namespaces(pid=True, cgroup=True, mount=True, net=True), True),
        (ROOT.with_capabilities(Capability.SYS_ADMIN, Capability.BPF), Namespaces(), False),
        (ALICE, Namespaces(), False),
        (ALICE.with_capabilities(Capability.NET_ADMIN), Namespaces(), True),
        (ROOT, Namespaces(user=True), False),
        (ROOT, CONTAINER, False),
    ],
    ids=["root", "root-in-namespaces", "without-it", "user", "user-with-it", "root-of-user-namespace", "container"],
)
def test_cap_net_admin_counts_in_the_initial_user_namespace(
    identity: Identity, namespaces: Namespaces, has_it: bool
) -> None:
    with Child(identity=identity, namespaces=namespaces) as child:
        assert (OwnCapability.NET_ADMIN in caller(child.pid, identity).credentials().capabilities) == has_it


def test_whoever_is_gone_or_not_to_be_seen_has_no_capability(child: Child) -> None:
    assert caller(child.pid).credentials().capabilities
    child.kill()
    assert not caller(child.pid).credentials().capabilities
    assert not caller(0).credentials().capabilities


def test_credentials_are_those_of_the_moment() -> None:
    identity = Identity(1000, 1001, groups=(7, 8), capabilities=frozenset({Capability.CHOWN, Capability.NET_ADMIN}))
    with Child(identity=identity) as user:
        user.call(set_name, b"user")
        credentials = caller(user.pid, identity).credentials()
        capabilities = frozenset({OwnCapability.CHOWN, OwnCapability.NET_ADMIN})
        groups = struct.pack("=II", 7, 8)
        assert credentials == Credentials(1000, 1001, user.pid, "user", capabilities, groups)
        assert credentials.groups == {1001, 7, 8}
    gone = Credentials(1000, 1001, 0, "?", frozenset(), b"")
    assert gone.groups == {1001}
    assert caller(user.pid, identity).credentials() == gone
    assert credentials != gone


def test_all_groups_are_known_however_many() -> None:
    groups = tuple(range(2000, 2300))
    identity = Identity(1000, 1001, groups=groups)
    with Child(identity=identity) as user:
        assert caller(user.pid, identity).credentials().groups == {1001, *groups}


def test_ids_that_are_not_those_of_the_thread_have_nothing_of_the_threads() -> None:
    """A request may come under other credentials than /proc shows, by an io_uring personality for one."""
    nobody = Identity(65534, 65534)
    with Child() as root:
        credentials = caller(root.pid, nobody).credentials()
        assert (credentials.uid, credentials.groups) == (65534, frozenset({65534}))
        assert not credentials.capabilities
        assert caller(root.pid).credentials().capabilities


def test_a_name_that_looks_like_a_status_line_gives_nothing() -> None:
    with Child(identity=ALICE) as alice:
        for name in (b"\nCapEff:\tff", b"\x1cCapEff:\tff", b"\rTgid:\t1", b"\xc2\x85Tgid:\t1"):
            alice.call(set_name, name)
            assert not caller(alice.pid, ALICE).credentials().capabilities
            assert caller(alice.pid, ALICE).credentials().pid == alice.pid


def test_a_thread_is_its_process_s_and_has_a_name(child: Child) -> None:
    child.call(set_name, b"worker")
    tid = child.call(start_thread)
    for thread in (child.pid, tid):
        assert caller(thread, ALICE).credentials().pid == child.pid
    assert caller(child.pid, ALICE).credentials().comm == "worker"


def test_a_name_breaks_no_line_of_a_log(child: Child) -> None:
    child.call(set_name, b"a\nb \x1b[1m\xff")
    assert caller(child.pid).credentials().comm == r"a\nb \x1b[1m\xff"


def test_whoever_is_gone_has_no_process_and_no_name(child: Child) -> None:
    child.kill()
    for gone in (caller(child.pid, ALICE), caller(0, ALICE)):
        assert (gone.credentials().pid, gone.credentials().comm) == (0, "?")
