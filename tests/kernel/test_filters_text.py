"""Text filters in the kernel: shown as they were written, in each mode, and only where the note names them."""

import errno
from pathlib import Path

import pytest

from cgfs import control, filters, notes, text_filter
from cgfs.attached import observe
from cgfs.control import Mode, parse, text_line
from cgfs.notes import Note
from cgfs.target import Target
from cgfs.text_filter import TextFilter
from tests.kernel.test_filters import STAMP, content, kernel_ids, program, target_of
from tests.support import programs
from tests.support.network import can_create_socket, passes
from tests.support.programs import Hook

CASES = [
    (Hook.SOCKET_CREATE, "families:"),
    (Hook.INGRESS, "cbpf:1,6 0 0 0"),
    (Hook.EGRESS, "cbpf:1,6 0 0 0"),
]


def text_of(target: Target, text: str) -> TextFilter:
    return text_filter.parse_text(text, target.file)


def target_file(hook: Hook) -> control.ControlFile:
    return control.by_name(programs.CONTROL_FILE[hook])


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("hook", "text"), CASES)
def test_a_text_is_in_force_and_shown_as_it_was_written(tmp_cgroup: Path, hook: Hook, text: str, mode: Mode) -> None:
    (tmp_cgroup / "child").mkdir()
    with target_of(tmp_cgroup, target_file(hook)) as target:
        change = filters.set_text(target, text_of(target, text), mode, STAMP, user=0)
        assert content(target) == change.after.decode() == text_line(text, mode) + "\n"
        assert observe(target).lasting
        assert parse(content(target).encode()) == control.SetText(text, mode)
        assert passes(tmp_cgroup, hook) == {False}
        assert passes(tmp_cgroup / "child", hook) == {mode is Mode.NONRECURSIVE}
        assert filters.clear(target, STAMP, only_own=True).after == b"none\n"


def test_texts_and_programs_replace_each_other(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, target_file(Hook.SOCKET_CREATE)) as target, program(target) as deny:
        for mode in (Mode.DEFAULT, Mode.NONRECURSIVE):
            filters.set_program(target, deny, mode, STAMP)
            filters.set_text(target, text_of(target, "families:inet"), mode, STAMP, user=0)
            assert content(target) == text_line("families:inet", mode) + "\n"
            filters.set_text(target, text_of(target, "families:inet6"), mode, STAMP, user=0)
            assert content(target) == text_line("families:inet6", mode) + "\n"
            assert len(kernel_ids(target)) == 1
        assert not can_create_socket(tmp_cgroup)


def test_a_text_that_the_note_does_not_name_is_a_program(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, target_file(Hook.SOCKET_CREATE)) as target:
        filters.set_text(target, text_of(target, "families:inet"), Mode.DEFAULT, STAMP, user=0)
        notes.write(target.cgroup_fd, target.file, Note())
        assert content(target).startswith("bpf:")


def test_a_nonrecursive_text_of_another_cgroup_is_a_program(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, target_file(Hook.SOCKET_CREATE)) as target:
        text = text_of(target, "families:inet")
        with text_filter.load(text, target.file, only_cgroup_id=target.cgroup_id + 1) as elsewhere:
            filters.set_program(target, elsewhere, Mode.DEFAULT, STAMP)
            noted = notes.read(target.cgroup_fd, target.file).programs[0]
            as_text = notes.NotedProgram(noted.id, noted.loaded_at_ns, notes.Kind.TEXT, STAMP)
            notes.write(target.cgroup_fd, target.file, Note((as_text,), STAMP))
        assert content(target).startswith("bpf:")


def test_a_program_that_looks_like_a_text_and_came_by_the_ioctl_is_a_program(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, target_file(Hook.SOCKET_CREATE)) as target:
        text = text_of(target, "families:inet")
        with text_filter.load(text, target.file) as loaded:
            filters.set_program(target, loaded, Mode.DEFAULT, STAMP)
        assert content(target).startswith("bpf:")


def test_a_text_in_another_mode_is_ebusy(tmp_cgroup: Path) -> None:
    with target_of(tmp_cgroup, target_file(Hook.SOCKET_CREATE)) as target:
        filters.set_text(target, text_of(target, "families:inet"), Mode.DEFAULT, STAMP, user=0)
        with pytest.raises(OSError) as caught:
            filters.set_text(target, text_of(target, "families:inet6"), Mode.OVERRIDABLE, STAMP, user=0)
        assert caught.value.errno == errno.EBUSY
        assert content(target) == "families:inet\n"
