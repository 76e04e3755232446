"""What the other tests stand on: children, namespaces, probes. Proven here without cgfs."""

import os
import socket
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.bpftool import attached_ids, program_tag
from tests.support.cgroups import cgroup_of, is_populated, kill_processes, processes, temporary_cgroup
from tests.support.child import Child, run
from tests.support.network import FAMILIES, Traffic, can_create_socket, tcp_exchange
from tests.support.programs import ALLOW, DENY, Hook
from tests.support.syscalls import Capability
from tests.support.users import ALICE, CONTAINER, CONTAINER_ROOT_ID, ROOT, Namespaces


def status_field(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2].strip()
    raise AssertionError(name)


def test_a_child_is_in_its_cgroup_and_pytest_is_not(tmp_cgroup: Path) -> None:
    with Child(tmp_cgroup) as child:
        assert processes(tmp_cgroup) == [child.pid]
        assert child.call(cgroup_of, child.pid) == f"/{tmp_cgroup.name}"
    assert not is_populated(tmp_cgroup)


def test_an_error_in_a_child_is_raised_with_its_errno() -> None:
    with Child() as child, pytest.raises(NotADirectoryError):
        child.call(os.listdir, "/dev/null")


def test_a_user_has_its_ids_groups_and_no_capability() -> None:
    identity = run(lambda: (os.getresuid(), os.getresgid(), os.getgroups(), status_field("CapEff")), identity=ALICE)
    assert identity == ((1000,) * 3, (1000,) * 3, [], "0" * 16)


def test_a_user_with_a_capability_has_that_one_only() -> None:
    alice = ALICE.with_capabilities(Capability.NET_ADMIN)
    assert int(run(lambda: status_field("CapEff"), identity=alice), 16) == 1 << Capability.NET_ADMIN


def test_root_keeps_its_capabilities() -> None:
    assert run(lambda: status_field("CapEff"), identity=ROOT) == status_field("CapEff")


def test_a_container_is_root_of_its_own_ids_pids_and_cgroups(tmp_cgroup: Path) -> None:
    with Child(tmp_cgroup, namespaces=CONTAINER) as child:
        assert child.call(os.getpid) == 1
        assert child.call(os.getuid) == 0
        assert child.call(cgroup_of) == "/"
        assert Path(f"/proc/{child.pid}").stat().st_uid == CONTAINER_ROOT_ID
    assert not is_populated(tmp_cgroup)


def test_a_pid_namespace_alone_needs_no_user_namespace() -> None:
    assert run(os.getpid, namespaces=Namespaces(pid=True)) == 1


def test_killing_a_cgroup_leaves_nobody(tmp_cgroup: Path) -> None:
    with Child(tmp_cgroup):
        kill_processes(tmp_cgroup)
        assert processes(tmp_cgroup) == []


def test_a_temporary_cgroup_goes_with_what_is_in_it() -> None:
    with temporary_cgroup() as path:
        (path / "a" / "b").mkdir(parents=True)
        child = Child(path / "a" / "b")
    assert not path.exists()
    child.kill()


@pytest.mark.parametrize("family", FAMILIES)
def test_traffic_passes_without_a_filter(tmp_cgroup: Path, family: socket.AddressFamily) -> None:
    with Traffic(tmp_cgroup, family) as packets:
        assert packets.passes() == (True, True)
    assert tcp_exchange(tmp_cgroup, family) == b"hello"
    assert can_create_socket(tmp_cgroup, family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hook", Hook)
def test_the_probes_see_each_filter(tmp_cgroup: Path, family: socket.AddressFamily, hook: Hook) -> None:
    with Traffic(tmp_cgroup, family) as packets, programs.program(hook, DENY) as denying:
        programs.attach(tmp_cgroup, denying, hook)
        assert packets.passes() == (hook != Hook.INGRESS, hook != Hook.EGRESS)
        assert can_create_socket(tmp_cgroup, family) == (hook != Hook.SOCKET_CREATE)
        programs.detach(tmp_cgroup, hook, denying)
        assert packets.passes() == (True, True)
        assert can_create_socket(tmp_cgroup, family)


@pytest.mark.parametrize("hook", Hook)
def test_query_bpftool_and_fdinfo_agree(tmp_cgroup: Path, hook: Hook) -> None:
    with programs.program(hook, ALLOW) as first, programs.program(hook, ALLOW, salt=1) as second:
        programs.attach(tmp_cgroup, first, hook)
        with programs.link(tmp_cgroup, second, hook):
            ids = [programs.fdinfo_id(first), programs.fdinfo_id(second)]
            assert list(programs.query(tmp_cgroup, hook).program_ids) == ids == attached_ids(tmp_cgroup, hook)
            assert [program_tag(number) for number in ids] == [programs.fdinfo_tag(fd) for fd in (first, second)]
        assert programs.query(tmp_cgroup, hook).program_ids == (ids[0],)
        programs.detach_everything(tmp_cgroup)
        assert programs.query(tmp_cgroup, hook).program_ids == ()
