"""Attach, replace, detach and query, on real cgroups; proven by packets and by what bpftool says."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import bpf
from cgfs.bpf import AttachFlags, AttachType
from tests.support import programs
from tests.support.bpftool import attached_ids
from tests.support.cgroups import cgroup_id
from tests.support.child import run
from tests.support.network import Traffic, can_create_socket
from tests.support.programs import ALLOW, DENY, Hook
from tests.support.users import ALICE

MULTI = AttachFlags.ALLOW_MULTI
OVERRIDE = AttachFlags.ALLOW_OVERRIDE

every_hook = pytest.mark.parametrize("hook", Hook)


@pytest.fixture
def cgroup(tmp_cgroup: Path) -> Iterator[int]:
    """A fresh cgroup's directory, open."""
    with open_directory(tmp_cgroup) as fd:
        yield fd


@contextlib.contextmanager
def open_directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def raises(number: int) -> Iterator[pytest.ExceptionInfo[OSError]]:
    """Expects OSError with that errno."""
    with pytest.raises(OSError) as caught:
        yield caught
    assert caught.value.errno == number, caught.value


@every_hook
def test_nothing_is_attached_to_a_new_cgroup(cgroup: int, hook: Hook) -> None:
    for effective in (False, True):
        assert bpf.query(cgroup, AttachType(hook), effective=effective) == ()
    assert bpf.attached(cgroup, AttachType(hook))[::2] == (AttachFlags(0), ())


@every_hook
@pytest.mark.parametrize("flags", [AttachFlags(0), OVERRIDE, MULTI])
def test_an_attached_program_is_in_force_and_shows(
    tmp_cgroup: Path, cgroup: int, hook: Hook, flags: AttachFlags
) -> None:
    with programs.program(hook, DENY) as denying, Traffic(tmp_cgroup) as packets:
        bpf.attach(cgroup, denying, AttachType(hook), flags)
        assert packets.passes() == (hook != Hook.INGRESS, hook != Hook.EGRESS)
        assert can_create_socket(tmp_cgroup) == (hook != Hook.SOCKET_CREATE)
        assert bpf.query(cgroup, AttachType(hook)) == (programs.fdinfo_id(denying),)
        assert attached_ids(tmp_cgroup, hook) == [programs.fdinfo_id(denying)]
        info = bpf.program_info(denying)
        described = bpf.AttachedProgram(info.id, programs.fdinfo_tag(denying), info.loaded_at_ns)
        assert bpf.attached(cgroup, AttachType(hook))[::2] == (flags, (described,))


@every_hook
def test_a_detached_program_is_out_of_force(tmp_cgroup: Path, cgroup: int, hook: Hook) -> None:
    with programs.program(hook, DENY) as denying, Traffic(tmp_cgroup) as packets:
        bpf.attach(cgroup, denying, AttachType(hook), MULTI)
        bpf.detach(cgroup, AttachType(hook), denying)
        assert packets.passes() == (True, True)
        assert can_create_socket(tmp_cgroup)
        assert bpf.query(cgroup, AttachType(hook)) == ()
        assert attached_ids(tmp_cgroup, hook) == []


def test_a_program_that_allows_no_other_is_detached_whatever_is_named(cgroup: int) -> None:
    with programs.program(Hook.INGRESS, salt=1) as there, programs.program(Hook.INGRESS, salt=2) as other:
        bpf.attach(cgroup, there, AttachType.CGROUP_INET_INGRESS, OVERRIDE)
        bpf.detach(cgroup, AttachType.CGROUP_INET_INGRESS, other)
    assert bpf.query(cgroup, AttachType.CGROUP_INET_INGRESS) == ()


@every_hook
def test_the_effective_query_is_in_the_order_of_running(tmp_cgroup: Path, hook: Hook) -> None:
    """The cgroup's own programs first, in the order of attaching, then its parent's."""
    child = tmp_cgroup / "child"
    child.mkdir()
    with (
        open_directory(tmp_cgroup) as outer,
        open_directory(child) as inner,
        programs.program(hook, ALLOW, salt=1) as first,
        programs.program(hook, ALLOW, salt=2) as second,
        programs.program(hook, ALLOW, salt=3) as above,
    ):
        bpf.attach(outer, above, AttachType(hook), MULTI)
        for program in (first, second):
            bpf.attach(inner, program, AttachType(hook), MULTI)
        running = bpf.query(inner, AttachType(hook), effective=True)
        assert running == tuple(programs.fdinfo_id(fd) for fd in (first, second, above))
        assert bpf.query(inner, AttachType(hook)) == running[:2]


def test_a_query_has_room_for_all_programs(tmp_cgroup: Path) -> None:
    """Two cgroups with 64 each: all the kernel takes, and more than fits at the first asking."""
    child = tmp_cgroup / "child"
    child.mkdir()
    with contextlib.ExitStack() as stack:
        outer, inner = (stack.enter_context(open_directory(path)) for path in (tmp_cgroup, child))
        expected: list[int] = []
        for salt in range(64):
            for directory in (outer, inner):
                program = stack.enter_context(programs.program(Hook.EGRESS, ALLOW, salt=salt))
                bpf.attach(directory, program, AttachType.CGROUP_INET_EGRESS, MULTI)
                expected.append(programs.fdinfo_id(program))
        effective = bpf.query(inner, AttachType.CGROUP_INET_EGRESS, effective=True)
        assert effective == (*expected[1::2], *expected[0::2])
        described = bpf.attached(inner, AttachType.CGROUP_INET_EGRESS).programs
        assert [each.id for each in described] == expected[1::2]
        one_too_many = stack.enter_context(programs.program(Hook.EGRESS, ALLOW, salt=64))
        with raises(errno.E2BIG):
            bpf.attach(inner, one_too_many, AttachType.CGROUP_INET_EGRESS, MULTI)


@every_hook
def test_replacing_takes_the_place_of_that_program_and_of_no_other(cgroup: int, hook: Hook) -> None:
    with (
        programs.program(hook, ALLOW, salt=1) as first,
        programs.program(hook, ALLOW, salt=2) as second,
        programs.program(hook, ALLOW, salt=3) as third,
    ):
        for program in (first, second):
            bpf.attach(cgroup, program, AttachType(hook), MULTI)
        bpf.attach(cgroup, third, AttachType(hook), MULTI, replace_fd=first)
        ids = bpf.query(cgroup, AttachType(hook))
        assert ids == (programs.fdinfo_id(third), programs.fdinfo_id(second))


def test_the_revision_changes_with_every_change(cgroup: int) -> None:
    hook = AttachType.CGROUP_INET_EGRESS
    revisions = [bpf.attached(cgroup, hook).revision]
    with programs.program(Hook.EGRESS, salt=1) as first, programs.program(Hook.EGRESS, salt=2) as second:
        bpf.attach(cgroup, first, hook, MULTI)
        revisions.append(bpf.attached(cgroup, hook).revision)
        bpf.attach(cgroup, second, hook, MULTI, replace_fd=first)
        revisions.append(bpf.attached(cgroup, hook).revision)
        bpf.detach(cgroup, hook, second)
        revisions.append(bpf.attached(cgroup, hook).revision)
    assert len(set(revisions)) == 4
    assert revisions[-1] == bpf.attached(cgroup, hook).revision


def test_a_change_based_on_an_older_revision_is_estale(cgroup: int) -> None:
    hook = AttachType.CGROUP_INET_EGRESS
    with (
        programs.program(Hook.EGRESS, salt=1) as first,
        programs.program(Hook.EGRESS, salt=2) as second,
        programs.program(Hook.EGRESS, salt=3) as third,
    ):
        bpf.attach(cgroup, first, hook, MULTI, revision=bpf.attached(cgroup, hook).revision)
        seen = bpf.attached(cgroup, hook)
        bpf.attach(cgroup, second, hook, MULTI)
        changed = bpf.attached(cgroup, hook)
        for replaced in (None, first):
            with raises(errno.ESTALE):
                bpf.attach(cgroup, third, hook, MULTI, replace_fd=replaced, revision=seen.revision)
        with raises(errno.ESTALE):
            bpf.detach(cgroup, hook, first, revision=seen.revision)
        assert bpf.attached(cgroup, hook) == changed
        bpf.attach(cgroup, third, hook, MULTI, replace_fd=first, revision=changed.revision)
        bpf.detach(cgroup, hook, second, revision=bpf.attached(cgroup, hook).revision)
        assert bpf.query(cgroup, hook) == (programs.fdinfo_id(third),)


def test_where_only_one_may_be_any_program_detaches_it_but_for_the_revision(cgroup: int) -> None:
    hook = AttachType.CGROUP_INET_EGRESS
    with programs.program(Hook.EGRESS, salt=1) as there, programs.program(Hook.EGRESS, salt=2) as other:
        before = bpf.attached(cgroup, hook)
        bpf.attach(cgroup, there, hook, OVERRIDE)
        with raises(errno.ESTALE):
            bpf.detach(cgroup, hook, other, revision=before.revision)
        assert bpf.query(cgroup, hook) == (programs.fdinfo_id(there),)
        bpf.detach(cgroup, hook, other)
        assert bpf.query(cgroup, hook) == ()


@every_hook
def test_whether_a_program_fits_a_hook_is_asked_without_a_cgroup(hook: Hook) -> None:
    with programs.program(hook) as program:
        for other in Hook:
            if (other == Hook.SOCKET_CREATE) == (hook == Hook.SOCKET_CREATE):
                bpf.check_hook(program, AttachType(other))
            else:
                with raises(errno.EINVAL):
                    bpf.check_hook(program, AttachType(other))


def test_a_program_that_returns_more_than_a_verdict_fits_egress_only() -> None:
    congestion = programs.return_value(3)
    egress = AttachType.CGROUP_INET_EGRESS
    with bpf.Program.load(bpf.ProgType.CGROUP_SKB, congestion, name="cn", expected_attach_type=egress) as program:
        bpf.check_hook(program.fd, egress)
        with raises(errno.EINVAL):
            bpf.check_hook(program.fd, AttachType.CGROUP_INET_INGRESS)


def test_attaching_what_is_attached_is_eexist(cgroup: int) -> None:
    with programs.program(Hook.INGRESS) as program:
        bpf.attach(cgroup, program, AttachType.CGROUP_INET_INGRESS, MULTI)
        with raises(errno.EEXIST):
            bpf.attach(cgroup, program, AttachType.CGROUP_INET_INGRESS, MULTI)


def test_what_a_link_holds_can_be_attached_directly_too(tmp_cgroup: Path, cgroup: int) -> None:
    with programs.program(Hook.INGRESS) as program, programs.link(tmp_cgroup, program, Hook.INGRESS):
        bpf.attach(cgroup, program, AttachType.CGROUP_INET_INGRESS, MULTI)
        assert bpf.query(cgroup, AttachType.CGROUP_INET_INGRESS) == (programs.fdinfo_id(program),) * 2


def test_replacing_what_is_not_attached_is_enoent(cgroup: int) -> None:
    with programs.program(Hook.INGRESS, salt=1) as there, programs.program(Hook.INGRESS, salt=2) as other:
        bpf.attach(cgroup, there, AttachType.CGROUP_INET_INGRESS, MULTI)
        with raises(errno.ENOENT):
            bpf.attach(cgroup, other, AttachType.CGROUP_INET_INGRESS, MULTI, replace_fd=other)
        assert bpf.query(cgroup, AttachType.CGROUP_INET_INGRESS) == (programs.fdinfo_id(there),)


@pytest.mark.parametrize("flags", [AttachFlags(0), OVERRIDE])
def test_another_mode_here_is_eperm(cgroup: int, flags: AttachFlags) -> None:
    with programs.program(Hook.INGRESS, salt=1) as there, programs.program(Hook.INGRESS, salt=2) as other:
        bpf.attach(cgroup, there, AttachType.CGROUP_INET_INGRESS, MULTI)
        with raises(errno.EPERM):
            bpf.attach(cgroup, other, AttachType.CGROUP_INET_INGRESS, flags)
        assert bpf.query(cgroup, AttachType.CGROUP_INET_INGRESS) == (programs.fdinfo_id(there),)


def test_below_a_program_that_cannot_be_overridden_is_eperm(tmp_cgroup: Path, cgroup: int) -> None:
    child = tmp_cgroup / "child"
    child.mkdir()
    with programs.program(Hook.INGRESS) as program, open_directory(child) as inner:
        bpf.attach(cgroup, program, AttachType.CGROUP_INET_INGRESS, AttachFlags(0))
        with raises(errno.EPERM):
            bpf.attach(inner, program, AttachType.CGROUP_INET_INGRESS, MULTI)


@every_hook
def test_a_program_of_another_type_is_einval(cgroup: int, hook: Hook) -> None:
    other = Hook.SOCKET_CREATE if hook != Hook.SOCKET_CREATE else Hook.EGRESS
    with programs.program(other) as program, raises(errno.EINVAL) as caught:
        bpf.attach(cgroup, program, AttachType(hook), MULTI)
    assert AttachType(hook).name in str(caught.value)


def test_what_is_no_program_is_einval_and_what_is_closed_is_ebadf(cgroup: int) -> None:
    with programs.a_map() as map_fd:
        closed = os.dup(cgroup)
        os.close(closed)
        for fd, number in ((map_fd, errno.EINVAL), (cgroup, errno.EINVAL), (closed, errno.EBADF)):
            with raises(number):
                bpf.attach(cgroup, fd, AttachType.CGROUP_INET_INGRESS, MULTI)


def test_what_is_no_cgroup_is_ebadf() -> None:
    with open_directory(Path("/")) as root, programs.program(Hook.INGRESS) as program, raises(errno.EBADF):
        bpf.attach(root, program, AttachType.CGROUP_INET_INGRESS, MULTI)


def test_detaching_what_is_not_attached_is_enoent(cgroup: int) -> None:
    with programs.program(Hook.INGRESS, salt=1) as there, programs.program(Hook.INGRESS, salt=2) as other:
        with raises(errno.ENOENT):
            bpf.detach(cgroup, AttachType.CGROUP_INET_INGRESS, other)
        bpf.attach(cgroup, there, AttachType.CGROUP_INET_INGRESS, MULTI)
        with raises(errno.ENOENT):
            bpf.detach(cgroup, AttachType.CGROUP_INET_INGRESS, other)


@every_hook
def test_a_link_is_found_by_its_cgroup_and_hook_and_detached(tmp_cgroup: Path, cgroup: int, hook: Hook) -> None:
    child = tmp_cgroup / "child"
    child.mkdir()
    id_ = cgroup_id(tmp_cgroup)
    with (
        programs.program(hook, DENY) as program,
        programs.link(child, program, hook),
        programs.link(tmp_cgroup, program, hook),
    ):
        (link,) = bpf.links(id_, AttachType(hook))
        assert link.prog_id == programs.fdinfo_id(program)
        assert [other for other in AttachType if bpf.links(id_, other)] == [AttachType(hook)]
        with raises(errno.ENOENT):
            bpf.detach(cgroup, AttachType(hook), program)
        bpf.detach_link(link.id)
        assert bpf.links(id_, AttachType(hook)) == ()
        assert bpf.query(cgroup, AttachType(hook)) == ()
        assert len(bpf.links(cgroup_id(child), AttachType(hook))) == 1
    with raises(errno.ENOENT):
        bpf.detach_link(link.id)


def test_all_of_many_links_are_found(tmp_cgroup: Path) -> None:
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(programs.program(Hook.EGRESS, ALLOW))
        for _ in range(64):
            stack.enter_context(programs.link(tmp_cgroup, program, Hook.EGRESS))
        found = bpf.links(cgroup_id(tmp_cgroup), AttachType.CGROUP_INET_EGRESS)
        assert len({link.id for link in found}) == 64
        assert {link.prog_id for link in found} == {programs.fdinfo_id(program)}


def test_a_removed_cgroup_is_enodev(tmp_cgroup: Path, cgroup: int) -> None:
    hook = AttachType.CGROUP_INET_INGRESS
    with programs.program(Hook.INGRESS) as program:
        bpf.attach(cgroup, program, hook, MULTI)
        tmp_cgroup.rmdir()
        for act in (
            lambda: bpf.query(cgroup, hook),
            lambda: bpf.query(cgroup, hook, effective=True),
            lambda: bpf.attached(cgroup, hook),
            lambda: bpf.attach(cgroup, program, hook, MULTI),
            lambda: bpf.attach(cgroup, program, hook, MULTI, replace_fd=program),
            lambda: bpf.detach(cgroup, hook, program),
        ):
            with raises(errno.ENODEV) as caught:
                act()
            assert hook.name in str(caught.value)


def test_an_ordinary_user_may_not_even_ask(cgroup: int) -> None:
    with pytest.raises(PermissionError):
        run(lambda: bpf.query(cgroup, AttachType.CGROUP_INET_INGRESS), identity=ALICE)
