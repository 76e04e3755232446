"""What set, replace and clear do to the kernel: on a real cgroup, beside the bpf(2) of others, proven by packets."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cgfs import attached, bpf, control, filters, notes
from cgfs.attached import How, observe
from cgfs.bpf import Program
from cgfs.control import CONTROL_FILES, ControlFile, Mode
from cgfs.filters import Change
from cgfs.notes import Kind, Note, NotedProgram, Stamp
from cgfs.target import Target
from tests.support import programs
from tests.support.bpftool import attached_ids
from tests.support.network import passes
from tests.support.programs import ALLOW, ALLOW_OVERRIDE, DENY, Hook

STAMP = Stamp(uid=1000, pid=4711, comm="tester", at_ns=1_700_000_000_123_456_789)
HOOK = {file.name: hook for hook, name in programs.CONTROL_FILE.items() for file in [control.by_name(name)]}


@contextlib.contextmanager
def target_of(cgroup: Path, file: ControlFile) -> Iterator[Target]:
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Target(fd, cgroup.stat().st_ino, file)
    finally:
        os.close(fd)


@pytest.fixture(params=CONTROL_FILES, ids=lambda file: file.hook)
def target(request: pytest.FixtureRequest, tmp_cgroup: Path) -> Iterator[Target]:
    with target_of(tmp_cgroup, request.param) as found:
        yield found


@pytest.fixture
def egress(tmp_cgroup: Path) -> Iterator[Target]:
    with target_of(tmp_cgroup, control.by_hook("egress")) as found:
        yield found


def hook_of(target: Target) -> Hook:
    return HOOK[target.file.name]


def program(target: Target, value: int = DENY, *, salt: int = 0) -> Program:
    return Program(programs.load(hook_of(target), value, salt=salt))


def content(target: Target) -> str:
    return observe(target).content.decode()


def line(program: Program, mode: Mode = Mode.DEFAULT) -> str:
    return control.program_line(programs.fdinfo_tag(program.fd), mode) + "\n"


def ids(*of: Program) -> list[int]:
    return [programs.fdinfo_id(each.fd) for each in of]


def kernel_ids(target: Target) -> list[int]:
    return list(programs.query(target.cgroup_fd, hook_of(target)).program_ids)


def test_nothing_is_attached_to_a_new_cgroup(target: Target) -> None:
    assert content(target) == "none\n"


def test_an_attached_program_is_shown_and_in_force(target: Target, tmp_cgroup: Path) -> None:
    hook = hook_of(target)
    assert passes(tmp_cgroup, hook) == {True}
    with program(target) as deny:
        change = filters.set_program(target, deny, Mode.DEFAULT, STAMP)
        assert (change.before, change.after.decode(), change.changed) == (b"none\n", line(deny), True)
        assert content(target) == line(deny)
        assert observe(target).lasting
        assert kernel_ids(target) == attached_ids(tmp_cgroup, hook) == ids(deny)
    assert passes(tmp_cgroup, hook) == {False}
    change = filters.clear(target, STAMP, only_own=True)
    assert (change.after, change.changed) == (b"none\n", True)
    assert content(target) == "none\n"
    assert attached_ids(tmp_cgroup, hook) == []
    assert passes(tmp_cgroup, hook) == {True}


def test_default_is_multi_and_overridable_is_override(target: Target) -> None:
    with program(target) as deny:
        filters.set_program(target, deny, Mode.DEFAULT, STAMP)
        assert programs.query(target.cgroup_fd, hook_of(target)).flags == programs.ALLOW_MULTI
        filters.clear(target, STAMP, only_own=True)
        filters.set_program(target, deny, Mode.OVERRIDABLE, STAMP)
        assert programs.query(target.cgroup_fd, hook_of(target)).flags == programs.ALLOW_OVERRIDE
        assert content(target) == line(deny, Mode.OVERRIDABLE)


@pytest.mark.parametrize("mode", Mode)
def test_a_program_replaces_the_one_before(target: Target, mode: Mode) -> None:
    with program(target) as first, program(target, salt=1) as second:
        filters.set_program(target, first, mode, STAMP)
        change = filters.set_program(target, second, mode, STAMP)
        assert (change.before.decode(), change.after.decode()) == (line(first, mode), line(second, mode))
        assert len(kernel_ids(target)) == 1


def test_default_and_nonrecursive_replace_each_other(target: Target, tmp_cgroup: Path) -> None:
    with program(target) as deny:
        for mode in (Mode.DEFAULT, Mode.NONRECURSIVE, Mode.DEFAULT, Mode.NONRECURSIVE):
            filters.set_program(target, deny, mode, STAMP)
            assert content(target) == line(deny, mode)
            assert len(kernel_ids(target)) == 1
        assert passes(tmp_cgroup, hook_of(target)) == {False}


@pytest.mark.parametrize(
    ("first_mode", "second_mode"),
    [(Mode.DEFAULT, Mode.OVERRIDABLE), (Mode.OVERRIDABLE, Mode.DEFAULT), (Mode.OVERRIDABLE, Mode.NONRECURSIVE)],
)
def test_the_kernel_modes_do_not_replace_each_other(egress: Target, first_mode: Mode, second_mode: Mode) -> None:
    with program(egress) as first, program(egress, salt=1) as second:
        filters.set_program(egress, first, first_mode, STAMP)
        before = observe(egress)
        for each in (first, second):
            with pytest.raises(OSError) as caught:
                filters.set_program(egress, each, second_mode, STAMP)
            assert caught.value.errno == errno.EBUSY
        assert observe(egress) == before


def test_a_mode_that_an_ancestor_forbids_is_ebusy(tmp_cgroup: Path, egress: Target) -> None:
    (tmp_cgroup / "child").mkdir()
    with target_of(tmp_cgroup / "child", egress.file) as child, program(egress) as deny:
        programs.attach(tmp_cgroup, deny.fd, Hook.EGRESS, flags=0)
        for mode in Mode:
            with pytest.raises(OSError) as caught:
                filters.set_program(child, deny, mode, STAMP)
            assert caught.value.errno == errno.EBUSY
        assert content(child) == "none\n"
        assert notes.read(child.cgroup_fd, child.file) == Note()


def test_the_same_program_again_succeeds(target: Target) -> None:
    later = Stamp(1001, 4712, "other", STAMP.at_ns + 10**9)
    with program(target) as deny:
        filters.set_program(target, deny, Mode.DEFAULT, STAMP)
        change = filters.set_program(target, deny, Mode.DEFAULT, later)
        assert not change.changed
        assert kernel_ids(target) == ids(deny)
    assert notes.read(target.cgroup_fd, target.file).last == later


@pytest.mark.parametrize("mode", [Mode.DEFAULT, Mode.NONRECURSIVE])
def test_a_program_that_somebody_else_attached_is_eexist(target: Target, mode: Mode) -> None:
    with program(target) as deny:
        programs.attach(target.cgroup_fd, deny.fd, hook_of(target))
        with pytest.raises(FileExistsError):
            filters.set_program(target, deny, mode, STAMP)
        assert kernel_ids(target) == ids(deny)
        with pytest.raises(PermissionError):
            filters.clear(target, STAMP, only_own=True)


def test_a_program_that_is_linked_can_be_attached_too(target: Target, tmp_cgroup: Path) -> None:
    with program(target) as deny, programs.link(tmp_cgroup, deny.fd, hook_of(target)):
        filters.set_program(target, deny, Mode.DEFAULT, STAMP)
        assert content(target) == line(deny) * 2
        assert [each.how for each in observe(target, with_links=True).attachments] == [How.FILE, How.LINK]
        with pytest.raises(PermissionError):
            filters.clear(target, STAMP, only_own=True)
        assert content(target) == line(deny) * 2
    assert len(kernel_ids(target)) == 1


def test_what_others_attached_stays_and_is_shown(target: Target, tmp_cgroup: Path) -> None:
    with program(target, ALLOW) as other, program(target, salt=1) as first, program(target, salt=2) as second:
        programs.attach(tmp_cgroup, other.fd, hook_of(target))
        filters.set_program(target, first, Mode.DEFAULT, STAMP)
        assert content(target) == line(other) + line(first)
        filters.set_program(target, second, Mode.DEFAULT, STAMP)
        assert content(target) == line(other) + line(second)
        assert kernel_ids(target) == ids(other, second)
        before = observe(target)
        with pytest.raises(PermissionError):
            filters.clear(target, STAMP, only_own=True)
        assert observe(target) == before


def test_clear_removes_everything_links_included(target: Target, tmp_cgroup: Path) -> None:
    hook = hook_of(target)
    with (
        program(target) as first,
        program(target, salt=1) as second,
        program(target, salt=2) as third,
        programs.link(tmp_cgroup, first.fd, hook),
        programs.link(tmp_cgroup, third.fd, hook),
    ):
        programs.attach(tmp_cgroup, second.fd, hook)
        filters.set_program(target, third, Mode.DEFAULT, STAMP)
        assert len(kernel_ids(target)) == 4
        change = filters.clear(target, STAMP, only_own=False)
        assert change.after == b"none\n"
        assert content(target) == "none\n"
        assert attached_ids(tmp_cgroup, hook) == []
    assert passes(tmp_cgroup, hook) == {True}


@pytest.mark.parametrize("flags", [0, ALLOW_OVERRIDE, programs.ALLOW_MULTI])
def test_clear_removes_what_others_attached_in_any_mode(target: Target, tmp_cgroup: Path, flags: int) -> None:
    with program(target) as deny:
        programs.attach(tmp_cgroup, deny.fd, hook_of(target), flags)
        shown = line(deny, Mode.OVERRIDABLE if flags == ALLOW_OVERRIDE else Mode.DEFAULT)
        assert content(target) == shown
        with pytest.raises(PermissionError):
            filters.clear(target, STAMP, only_own=True)
        assert content(target) == shown
        filters.clear(target, STAMP, only_own=False)
        assert content(target) == "none\n"


def test_clear_of_nothing_does_nothing(target: Target) -> None:
    before = observe(target)
    for only_own in (True, False):
        assert not filters.clear(target, STAMP, only_own=only_own).changed
    assert observe(target) == before


def test_overridable_never_takes_the_place_of_somebody_elses(egress: Target, tmp_cgroup: Path) -> None:
    with program(egress) as other, program(egress, salt=1) as own:
        programs.attach(tmp_cgroup, other.fd, Hook.EGRESS, ALLOW_OVERRIDE)
        for each, error in ((other, errno.EEXIST), (own, errno.EBUSY)):
            with pytest.raises(OSError) as caught:
                filters.set_program(egress, each, Mode.OVERRIDABLE, STAMP)
            assert caught.value.errno == error
        assert kernel_ids(egress) == ids(other)


def test_what_changes_meanwhile_is_seen(egress: Target, tmp_cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else puts an overridable program in the place of ours just before we replace or remove ours."""
    with program(egress) as ours, program(egress, salt=1) as other, program(egress, salt=2) as new:
        acts: list[Callable[[], Change]] = [
            lambda: filters.set_program(egress, new, Mode.OVERRIDABLE, STAMP),
            lambda: filters.clear(egress, STAMP, only_own=True),
        ]
        for act in acts:
            filters.set_program(egress, ours, Mode.OVERRIDABLE, STAMP)
            with monkeypatch.context() as patch:
                put_in_between(patch, lambda: programs.attach(tmp_cgroup, other.fd, Hook.EGRESS, ALLOW_OVERRIDE))
                with contextlib.suppress(OSError):
                    act()
            if observe(egress).revision:  # before Linux 6.17 there is none, and the moment in between is not seen
                assert kernel_ids(egress) == ids(other)
            filters.clear(egress, STAMP, only_own=False)


def put_in_between(patch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """*act* once, after what is attached was asked for and before it is changed."""
    left = [act]
    real = {name: getattr(bpf, name) for name in ("attach", "detach")}

    def first(name: str) -> Callable[..., None]:
        def call(*arguments: object, **keywords: object) -> None:
            while left:
                left.pop()()
            real[name](*arguments, **keywords)

        return call

    for name in real:
        patch.setattr(bpf, name, first(name))


def test_a_program_of_another_type_is_einval(target: Target) -> None:
    for hook in Hook:
        if programs.PROG_TYPE[hook] == programs.PROG_TYPE[hook_of(target)]:
            continue
        with Program(programs.load(hook)) as wrong:
            for mode in Mode:
                with pytest.raises(OSError) as caught:
                    filters.set_program(target, wrong, mode, STAMP)
                assert caught.value.errno == errno.EINVAL
    assert content(target) == "none\n"


def test_the_65th_program_is_e2big(egress: Target, tmp_cgroup: Path) -> None:
    for salt in range(64):
        with program(egress, ALLOW, salt=salt) as other:
            programs.attach(tmp_cgroup, other.fd, Hook.EGRESS)
    with program(egress, salt=99) as own, pytest.raises(OSError) as caught:
        filters.set_program(egress, own, Mode.DEFAULT, STAMP)
    assert caught.value.errno == errno.E2BIG
    assert len(kernel_ids(egress)) == 64


def test_a_removed_cgroup_is_enodev(target: Target, tmp_cgroup: Path) -> None:
    with program(target) as deny:
        tmp_cgroup.rmdir()
        for act in (
            lambda: observe(target),
            lambda: filters.set_program(target, deny, Mode.DEFAULT, STAMP),
            lambda: filters.set_program(target, deny, Mode.NONRECURSIVE, STAMP),
            lambda: filters.clear(target, STAMP, only_own=False),
        ):
            with pytest.raises(OSError) as caught:
                act()
            assert caught.value.errno == errno.ENODEV


def test_lines_are_in_the_order_in_which_programs_run(egress: Target, tmp_cgroup: Path) -> None:
    with program(egress, salt=1) as first, program(egress, salt=2) as second, program(egress, salt=3) as early:
        programs.attach(tmp_cgroup, first.fd, Hook.EGRESS)
        programs.attach(tmp_cgroup, second.fd, Hook.EGRESS)
        assert content(egress) == line(first) + line(second)
        try:
            programs.attach(tmp_cgroup, early.fd, Hook.EGRESS, programs.ALLOW_MULTI | programs.PREORDER)
        except OSError as error:
            assert error.errno == errno.EINVAL  # before Linux 6.15 there is one order only
            return
        assert kernel_ids(egress) == ids(first, second, early)
        assert programs.query(tmp_cgroup, Hook.EGRESS, effective=True).program_ids == tuple(ids(early, first, second))
        assert content(egress) == line(early) + line(first) + line(second)


@pytest.mark.parametrize(
    ("own", "effective", "above", "places"),
    [
        ((1,), (1,), (), [0]),
        ((1, 2), (1, 2, 3), (3,), [0]),
        ((1, 2), (3, 1, 2), (3,), [1]),
        ((1, 2), (3, 2, 1, 4), (3, 4), [1]),
        ((1, 1), (1, 1, 1), (1,), [0, 1]),
        ((1, 2), (2, 1, 2), (2,), [1, 0]),  # which of the two cannot be known
        ((1, 2), (2, 1, 1, 2), (1, 2), [0]),
        ((1, 2), (2, 1, 1, 2), None, [2, 0]),
        ((1, 2), (3, 4), (3, 4), []),
        ((1, 2), (1, 2, 3), (4,), []),  # changed meanwhile
        ((), (3, 4), (3, 4), [0, 1, 2]),
    ],
)
def test_own_programs_are_found_in_what_runs(
    own: tuple[int, ...], effective: tuple[int, ...], above: tuple[int, ...] | None, places: list[int]
) -> None:
    assert attached.places_of(own, effective, above) == places


# The note.


def test_the_note_says_who_attached_what_and_when(target: Target) -> None:
    with program(target) as deny:
        filters.set_program(target, deny, Mode.DEFAULT, STAMP)
        info = deny.info()
    note = notes.read(target.cgroup_fd, target.file)
    assert note == Note((NotedProgram(info.id, info.loaded_at_ns, Kind.PROGRAM, STAMP),), STAMP)
    filters.clear(target, STAMP, only_own=True)
    assert notes.read(target.cgroup_fd, target.file) == Note(last=STAMP)


def test_a_noted_program_that_was_detached_is_nobodys(egress: Target, tmp_cgroup: Path) -> None:
    """What was noted does not count for another program, nor for the same one at a link."""
    with program(egress) as deny, program(egress, salt=1) as other:
        filters.set_program(egress, deny, Mode.DEFAULT, STAMP)
        programs.detach(tmp_cgroup, Hook.EGRESS, deny.fd)
        assert content(egress) == "none\n"
        with programs.link(tmp_cgroup, deny.fd, Hook.EGRESS):
            assert [each.how for each in observe(egress, with_links=True).attachments] == [How.LINK]
            with pytest.raises(PermissionError):
                filters.clear(egress, STAMP, only_own=True)
        programs.attach(tmp_cgroup, other.fd, Hook.EGRESS)
        assert [each.how for each in observe(egress, with_links=True).attachments] == [How.DIRECT]


def test_a_note_for_another_load_of_the_same_id_does_not_count(egress: Target, tmp_cgroup: Path) -> None:
    with program(egress) as deny:
        programs.attach(tmp_cgroup, deny.fd, Hook.EGRESS)
        info = deny.info()
        wrong = NotedProgram(info.id, info.loaded_at_ns + 1, Kind.PROGRAM, STAMP)
        notes.write(egress.cgroup_fd, egress.file, Note((wrong,), STAMP))
        assert [each.how for each in observe(egress, with_links=True).attachments] == [How.DIRECT]


FAR_AWAY = b'{"version": 1, "programs": [], "last": {"uid": 0, "pid": 1, "comm": "x", "at_ns": %d}}' % 2**63


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"{}", b'{"version": 2}', b'{"version": 1}', b"\xff\xfe", FAR_AWAY]
)
def test_a_note_that_makes_no_sense_is_none(egress: Target, data: bytes) -> None:
    os.setxattr(egress.cgroup_fd, f"trusted.cgfs.{egress.file.name}", data)
    assert notes.read(egress.cgroup_fd, egress.file) == Note()
    with program(egress) as deny:
        filters.set_program(egress, deny, Mode.DEFAULT, STAMP)
        assert content(egress) == line(deny)


def test_a_crash_between_the_steps_leaves_a_truthful_note(egress: Target, tmp_cgroup: Path) -> None:
    """The states that the order of the steps can leave, made by hand: the note names both, one is attached."""
    with program(egress) as old, program(egress, salt=1) as new:
        entries = [NotedProgram(each.info().id, each.info().loaded_at_ns, Kind.PROGRAM, STAMP) for each in (old, new)]
        notes.write(egress.cgroup_fd, egress.file, Note(tuple(entries), STAMP))
        for each in (old, new):
            programs.attach(tmp_cgroup, each.fd, Hook.EGRESS)
            assert [found.how for found in observe(egress, with_links=True).attachments] == [How.FILE]
            assert content(egress) == line(each)
            programs.detach(tmp_cgroup, Hook.EGRESS, each.fd)
        programs.attach(tmp_cgroup, old.fd, Hook.EGRESS)
        filters.set_program(egress, new, Mode.DEFAULT, STAMP)
        assert kernel_ids(egress) == ids(new)
        assert notes.read(egress.cgroup_fd, egress.file).programs == (entries[1],)


def test_a_failed_attach_leaves_the_note_as_it_was(egress: Target, tmp_cgroup: Path) -> None:
    (tmp_cgroup / "child").mkdir()
    with target_of(tmp_cgroup / "child", egress.file) as child, program(egress) as deny:
        filters.set_program(child, deny, Mode.DEFAULT, STAMP)
        filters.clear(child, STAMP, only_own=True)
        before = notes.read(child.cgroup_fd, child.file)
        programs.attach(tmp_cgroup, deny.fd, Hook.EGRESS, flags=0)
        with pytest.raises(OSError):
            filters.set_program(child, deny, Mode.DEFAULT, Stamp(0, 1, "x", 1))
        assert notes.read(child.cgroup_fd, child.file) == before


# Times.


def test_the_time_is_another_after_each_change(target: Target) -> None:
    seen = [observe(target).changed_at_ns]
    with program(target) as first, program(target, salt=1) as second:
        for act in (
            lambda: filters.set_program(target, first, Mode.DEFAULT, STAMP),
            lambda: filters.set_program(target, second, Mode.DEFAULT, STAMP),
            lambda: filters.clear(target, STAMP, only_own=True),
            lambda: programs.attach(target.cgroup_fd, first.fd, hook_of(target)),
            lambda: programs.detach(target.cgroup_fd, hook_of(target), first.fd),
        ):
            act()
            state = observe(target)
            assert observe(target).changed_at_ns == state.changed_at_ns
            seen.append(state.changed_at_ns)
    assert len(set(seen)) == len(seen)
