"""Nonrecursive filters: the guard holds for its own cgroup only, keeps its program, and denies when it has lost it."""

import contextlib
import errno
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import bpffs, control, filters, guard, notes
from cgfs.attached import observe
from cgfs.bpf import AttachType, Map, MapType, Program, ProgType
from cgfs.control import CONTROL_FILES, Mode
from cgfs.notes import Kind, Note, NotedProgram, Stamp
from cgfs.target import Target
from tests.kernel.test_filters import STAMP, content, hook_of, ids, kernel_ids, line, program, target_of
from tests.support import programs
from tests.support.bpftool import bpftool
from tests.support.child import run
from tests.support.network import passes
from tests.support.programs import ALLOW, DENY, Hook, return_value
from tests.support.waiting import until

CGROUP_STORAGE = MapType(19)
GET_LOCAL_STORAGE = 81


@pytest.fixture(params=CONTROL_FILES, ids=lambda file: file.hook)
def target(request: pytest.FixtureRequest, tmp_cgroup: Path) -> Iterator[Target]:
    with target_of(tmp_cgroup, request.param) as found:
        yield found


def pins_of(target: Target) -> list[Path]:
    return sorted(bpffs.directory("guards").glob(f"{target.cgroup_id}-{target.file.hook}-*"))


def test_it_holds_for_the_cgroup_and_not_for_its_descendants(target: Target, tmp_cgroup: Path) -> None:
    child = tmp_cgroup / "child"
    child.mkdir()
    with program(target) as deny:
        filters.set_program(target, deny, Mode.NONRECURSIVE, STAMP)
        assert content(target) == line(deny, Mode.NONRECURSIVE)
        assert not observe(target).lasting
    assert passes(tmp_cgroup, hook_of(target)) == {False}
    assert passes(child, hook_of(target)) == {True}
    filters.clear(target, STAMP, only_own=True)
    assert content(target) == "none\n"
    assert passes(tmp_cgroup, hook_of(target)) == {True}
    assert pins_of(target) == []


def attach_and_exit(cgroup: Path, hook: Hook, value: int) -> None:
    with (
        target_of(cgroup, control.by_name(programs.CONTROL_FILE[hook])) as target,
        Program(programs.load(hook, value)) as given,
    ):
        filters.set_program(target, given, Mode.NONRECURSIVE, STAMP)


@pytest.mark.parametrize("value", [ALLOW, DENY])
def test_it_needs_no_process(target: Target, tmp_cgroup: Path, value: int) -> None:
    """Whoever attached it is gone, with every descriptor: the program still runs, and says what it said."""
    hook = hook_of(target)
    run(lambda: attach_and_exit(tmp_cgroup, hook, value))
    assert passes(tmp_cgroup, hook) == {value == ALLOW}
    with program(target, value) as same:
        assert content(target) == line(same, Mode.NONRECURSIVE)


def test_a_tail_call_that_fails_denies(target: Target, tmp_cgroup: Path) -> None:
    child = tmp_cgroup / "child"
    child.mkdir()
    with program(target, ALLOW) as allow:
        filters.set_program(target, allow, Mode.NONRECURSIVE, STAMP)
    assert passes(tmp_cgroup, hook_of(target)) == {True}
    for pin in pins_of(target):
        pin.unlink()
    until(lambda: "nonrecursive" not in content(target), "the kernel has emptied the array")
    assert passes(tmp_cgroup, hook_of(target)) == {False}
    assert passes(child, hook_of(target)) == {True}


def test_there_is_one_pin_of_roots_and_it_goes_with_the_filter(target: Target) -> None:
    with program(target) as first, program(target, salt=1) as second:
        for given in (first, second):
            filters.set_program(target, given, Mode.NONRECURSIVE, STAMP)
            (pin,) = pins_of(target)
            assert pin.name.endswith(f"-{kernel_ids(target)[0]}")
            assert (pin.stat().st_uid, pin.stat().st_mode & 0o777) == (0, 0o600)
        filters.set_program(target, second, Mode.DEFAULT, STAMP)
        assert pins_of(target) == []


def test_a_failed_attach_leaves_no_pin(tmp_cgroup: Path) -> None:
    (tmp_cgroup / "child").mkdir()
    with target_of(tmp_cgroup / "child", control.by_hook("egress")) as child, program(child) as deny:
        programs.attach(tmp_cgroup, deny.fd, Hook.EGRESS, flags=0)
        with pytest.raises(OSError):
            filters.set_program(child, deny, Mode.NONRECURSIVE, STAMP)
        assert pins_of(child) == []


def test_sweep_removes_pins_of_guards_that_are_gone_and_no_others(tmp_cgroup: Path) -> None:
    gone = tmp_cgroup / "gone"
    gone.mkdir()
    file = control.by_hook("egress")
    with target_of(tmp_cgroup, file) as target, target_of(gone, file) as removed, program(target, ALLOW) as allow:
        for each in (target, removed):
            filters.set_program(each, allow, Mode.NONRECURSIVE, STAMP)
        stays, goes = pins_of(target), pins_of(removed)
        assert len(stays) == len(goes) == 1
        gone.rmdir()
        stray = bpffs.directory("guards") / "stray"
        with Map.create(MapType.ARRAY, 4, 4, 1, "stray") as array:
            array.pin(stray)

        def swept() -> bool:
            guard.sweep()
            return not goes[0].exists()

        until(swept, "the guard of the removed cgroup is gone, and then its pin")
        assert not stray.exists()
        assert pins_of(target) == stays
        assert passes(tmp_cgroup, Hook.EGRESS) == {True}


def test_a_program_id_that_is_used_again_keeps_no_pin(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, control.by_hook("egress")) as target, program(target) as other:
        path = bpffs.directory("guards") / f"{target.cgroup_id}-egress-{ids(other)[0]}"
        with Map.create(MapType.PROG_ARRAY, 4, 4, 1, "array") as array:
            array.pin(path)
        guard.sweep()
        assert not path.exists()


def test_others_see_a_program_named_for_what_it_is(target: Target) -> None:
    with program(target) as deny:
        filters.set_program(target, deny, Mode.NONRECURSIVE, STAMP)
    shown = bpftool("prog", "show", "id", str(kernel_ids(target)[0]))
    assert shown["name"] == guard.NAME


def test_a_guard_of_somebody_elses_is_shown_as_the_program_that_it_is(target: Target, tmp_cgroup: Path) -> None:
    """The note has to name it, and its instructions have to be those of this cgroup's guard."""
    with (
        program(target) as deny,
        guard.guarding(deny, target.file, target.cgroup_id) as own,
        guard.guarding(deny, target.file, target.cgroup_id + 1) as anothers,
    ):
        for each, shown in ((own, line(deny, Mode.NONRECURSIVE)), (anothers, line(anothers)), (deny, line(deny))):
            programs.attach(tmp_cgroup, each.fd, hook_of(target))
            assert content(target) == line(each)
            info = each.info()
            noted = NotedProgram(info.id, info.loaded_at_ns, Kind.GUARD, STAMP)
            notes.write(target.cgroup_fd, target.file, Note((noted,), STAMP))
            assert content(target) == shown
            programs.detach(tmp_cgroup, hook_of(target), each.fd)


def test_a_guard_at_a_link_is_shown_as_the_program_that_it_is(target: Target, tmp_cgroup: Path) -> None:
    with program(target) as deny:
        filters.set_program(target, deny, Mode.NONRECURSIVE, STAMP)
        with Program.by_id(kernel_ids(target)[0]) as guarding:
            programs.detach(tmp_cgroup, hook_of(target), guarding.fd)
            with programs.link(tmp_cgroup, guarding.fd, hook_of(target)):
                assert content(target) == line(guarding)


@contextlib.contextmanager
def with_cgroup_storage() -> Iterator[Program]:
    """A packet filter that allows, and has cgroup storage."""
    with Map.create(CGROUP_STORAGE, 8, 8, 0, "storage") as storage:
        code = struct.pack("<BBhi", 0x18, 0x11, 0, storage.fd) + struct.pack("<BBhi", 0, 0, 0, 0)
        code += struct.pack("<BBhi", 0xB7, 2, 0, 0) + struct.pack("<BBhi", 0x85, 0, 0, GET_LOCAL_STORAGE)
        with Program.load(ProgType.CGROUP_SKB, code + return_value(ALLOW), name="stored") as loaded:
            yield loaded


def test_a_program_that_cannot_be_tail_called_is_eopnotsupp(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, control.by_hook("egress")) as target, with_cgroup_storage() as stored:
        with pytest.raises(OSError) as caught:
            filters.set_program(target, stored, Mode.NONRECURSIVE, STAMP)
        assert caught.value.errno == errno.EOPNOTSUPP
        assert "tail-called" in str(caught.value)
        assert content(target) == "none\n"
        assert pins_of(target) == []
        filters.set_program(target, stored, Mode.DEFAULT, STAMP)
        assert content(target) == line(stored)


@pytest.mark.parametrize("hook", [Hook.INGRESS, Hook.EGRESS])
@pytest.mark.parametrize("loaded_for", [None, AttachType.CGROUP_INET_EGRESS])
def test_what_the_kernel_takes_by_default_it_takes_nonrecursive(
    tmp_cgroup: Path, hook: Hook, loaded_for: AttachType | None
) -> None:
    """Packet filters may be loaded for no hook in particular; those for egress may say more than yes and no."""
    file = control.by_name(programs.CONTROL_FILE[hook])
    for value in (DENY, 2):
        if value == 2 and loaded_for is None:
            continue
        with (
            target_of(tmp_cgroup, file) as target,
            Program.load(
                ProgType.CGROUP_SKB, return_value(value), name="given", expected_attach_type=loaded_for
            ) as given,
        ):
            errors = {mode: error_of(target, given, mode) for mode in (Mode.DEFAULT, Mode.NONRECURSIVE)}
            assert errors[Mode.DEFAULT] == (errno.EINVAL if value == 2 and hook == Hook.INGRESS else 0)
            assert errors[Mode.NONRECURSIVE] == errors[Mode.DEFAULT]


def test_a_socket_program_for_another_hook_is_einval(tmp_cgroup: Path) -> None:
    post_bind = 12  # BPF_CGROUP_INET4_POST_BIND
    with target_of(tmp_cgroup, control.by_hook("socket-create")) as target, load_for(post_bind) as given:
        assert [error_of(target, given, mode) for mode in Mode] == [errno.EINVAL] * 3


@contextlib.contextmanager
def load_for(attach_type: int) -> Iterator[Program]:
    with Program.load(
        ProgType.CGROUP_SOCK,
        return_value(ALLOW),
        name="given",
        expected_attach_type=attach_type,  # type: ignore[arg-type]
    ) as given:
        yield given


def error_of(target: Target, given: Program, mode: Mode) -> int:
    try:
        filters.set_program(target, given, mode, Stamp(0, 1, "test", 1))
    except OSError as error:
        assert error.errno
        return error.errno
    filters.clear(target, STAMP, only_own=True)
    assert observe(target).attachments == ()
    return 0
