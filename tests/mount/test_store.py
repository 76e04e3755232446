"""The program store: programs that a control file takes by their tag, and who may use them."""

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs.store import default_store
from cgfs.store.entry import Origin
from tests.mount.conftest import Twin
from tests.support import control
from tests.support.child import run
from tests.support.command import assert_refused, cgfs, succeed
from tests.support.daemon import Overlay
from tests.support.network import can_create_socket
from tests.support.objects import compile_source, compile_verdict
from tests.support.programs import CONTROL_FILE, DENY, Hook, fdinfo_tag, program
from tests.support.users import ALICE, Identity, delegate

SOCKET_FILE = CONTROL_FILE[Hook.SOCKET_CREATE]


@pytest.fixture(autouse=True)
def store_as_it_was() -> Iterator[None]:
    """What a test leaves in the machine's store is removed."""
    store = default_store()
    before = {(entry.origin, entry.key) for entry in store.entries()}
    yield
    after = {(entry.origin, entry.key) for entry in store.entries()}
    for digest in {key.partition(":")[0] for origin, key in after - before if origin is Origin.OBJECT}:
        store.objects.remove(digest)
    for origin, key in after - before:
        if origin is Origin.PIN:
            store.pins.remove(key)


@pytest.fixture
def deny_object(tmp_path: Path) -> Path:
    """An object with a program that refuses all sockets; no other test's is like it."""
    return compile_deny(tmp_path / "deny.o", "deny_all")


def compile_deny(path: Path, name: str) -> Path:
    """All that are compared have a family, and none has this one; the number makes the tag one of its own."""
    verdict = "((unsigned int *)context)[1] == 47110815"
    section = '__attribute__((section("cgroup/sock_create"), used))'
    return compile_source(path, f"{section} int {name}(void *context) {{ return {verdict}; }}")


def added(path: Path, *options: str) -> str:
    """Add an object with one program, and return `bpf:<tag>`."""
    line = succeed("program", "add", *options, path)
    match = re.match(r"bpf:[0-9a-f]{16}  cgroup_sock  deny_all\n$", line)
    assert match, line
    return line.split()[0]


def write_as(identity: Identity, path: Path, text: str) -> int:
    """The errno of writing *text* to *path* as *identity*; 0 if it is taken."""

    def write() -> int:
        try:
            path.write_text(text)
        except OSError as error:
            return error.errno or -1
        return 0

    return run(write, identity=identity)


def test_a_stored_program_is_attached_by_its_tag(twin: Twin, deny_object: Path) -> None:
    line = added(deny_object)
    file = twin.mirror / SOCKET_FILE
    file.write_text(line)
    assert file.read_text() == f"{line}\n"
    assert not can_create_socket(twin.native)
    file.write_text("none")
    assert can_create_socket(twin.native)


@pytest.mark.parametrize("mode", ["overridable", "nonrecursive"])
def test_the_mode_goes_with_the_tag(twin: Twin, deny_object: Path, mode: str) -> None:
    line = added(deny_object).replace("bpf:", f"bpf({mode}):")
    file = twin.mirror / SOCKET_FILE
    file.write_text(line)
    assert file.read_text() == f"{line}\n"
    assert not can_create_socket(twin.native)


def test_what_a_file_says_can_be_written_back(twin: Twin) -> None:
    file = twin.mirror / SOCKET_FILE
    with control.filtered(twin.mirror, Hook.SOCKET_CREATE, salt=11) as shown:
        file.write_text("none")
        file.write_text(shown)
        assert file.read_text() == shown
        assert not can_create_socket(twin.native)


def test_an_unknown_tag_is_einval_and_changes_nothing(twin: Twin) -> None:
    file = twin.mirror / SOCKET_FILE
    with pytest.raises(OSError) as caught:
        file.write_text("bpf:0123456789abcdef")
    assert caught.value.errno == errno.EINVAL
    assert file.read_text() == "none\n"


def test_a_program_of_another_hook_is_not_found_by_its_tag(twin: Twin, deny_object: Path) -> None:
    line = added(deny_object)
    with pytest.raises(OSError) as caught:
        (twin.mirror / CONTROL_FILE[Hook.EGRESS]).write_text(line)
    assert caught.value.errno == errno.EINVAL


def test_the_permissions_of_an_entry_decide_who_may_use_it(twin: Twin, deny_object: Path) -> None:
    line = added(deny_object)
    file = twin.mirror / SOCKET_FILE
    file.chmod(0o666)
    assert write_as(ALICE, file, line) == errno.EINVAL
    path = next(entry.path for entry in default_store().objects.entries() if f"bpf:{entry.tag}" == line)
    path.chmod(0o604)
    assert write_as(ALICE, file, line) == 0
    assert file.read_text() == f"{line}\n"


def test_a_program_that_somebody_attached_is_kept_in_their_name(twin: Twin) -> None:
    before = {entry.key for entry in default_store().pins.entries()}
    delegate(twin.native, ALICE.uid, ALICE.gid)
    file = twin.mirror / SOCKET_FILE
    file.chmod(0o666)
    with program(Hook.SOCKET_CREATE, DENY, salt=12) as fd:
        run(lambda: control.attach(file, fd), identity=ALICE)
        line = f"bpf:{fdinfo_tag(fd)}"
    assert write_as(ALICE, file, "none") == 0
    assert write_as(ALICE, file, line) == 0
    assert file.read_text() == f"{line}\n"
    kept = [entry for entry in default_store().pins.entries() if f"bpf:{entry.tag}" == line and entry.key not in before]
    assert [(entry.uid, entry.mode) for entry in kept] == [(ALICE.uid, 0o600)]


def test_what_has_one_tag_and_two_types_is_kept_for_both(twin: Twin) -> None:
    """The tag, and the instructions, say nothing of the type."""
    with program(Hook.SOCKET_CREATE, DENY, salt=14) as fd, program(Hook.EGRESS, DENY, salt=14) as other:
        assert fdinfo_tag(fd) == fdinfo_tag(other)
        for each, hook in ((fd, Hook.SOCKET_CREATE), (other, Hook.EGRESS)):
            control.attach(twin.mirror / CONTROL_FILE[hook], each)
            (twin.mirror / CONTROL_FILE[hook]).write_text("none")
        line = f"bpf:{fdinfo_tag(fd)}"
    for hook in (Hook.SOCKET_CREATE, Hook.EGRESS):
        (twin.mirror / CONTROL_FILE[hook]).write_text(line)
        assert (twin.mirror / CONTROL_FILE[hook]).read_text() == f"{line}\n"


def object_with_map(path: Path, entries: int) -> Path:
    """An object whose program has a map of that many entries, which its tag says nothing of."""
    source = f"""
        struct {{ int (*type)[2]; int *key; int *value; int (*max_entries)[{entries}]; }}
            counts __attribute__((section(".maps"), used));
        static void *(*lookup)(void *, const void *) = (void *)1;
        __attribute__((section("cgroup/sock_create"), used)) int deny_all(void *context)
        {{ int key = 0; lookup(&counts, &key); return 0; }}
    """
    return compile_source(path, source)


def test_two_programs_of_one_tag_are_ambiguous(overlay: Overlay, twin: Twin, tmp_path: Path) -> None:
    line = added(object_with_map(tmp_path / "one.o", 1))
    assert added(object_with_map(tmp_path / "two.o", 2)) == line
    with pytest.raises(OSError) as caught:
        (twin.mirror / SOCKET_FILE).write_text(line)
    assert caught.value.errno == errno.EINVAL
    assert "ambiguous" in overlay.log()
    assert (twin.mirror / SOCKET_FILE).read_text() == "none\n"
    assert_refused(cgfs("program", "remove", line), "ambiguous")


def test_the_same_instructions_twice_are_not_ambiguous(twin: Twin, tmp_path: Path, deny_object: Path) -> None:
    line = added(deny_object)
    other = compile_deny(tmp_path / "other.o", "deny_too")
    assert succeed("program", "add", other).startswith(line)
    (twin.mirror / SOCKET_FILE).write_text(line)
    assert (twin.mirror / SOCKET_FILE).read_text() == f"{line}\n"


def test_two_programs_of_one_section_are_kept_and_attached_by_their_tags(twin: Twin, tmp_path: Path) -> None:
    attribute = '__attribute__((section("cgroup/sock_create"), used))'
    verdicts = {name: f"((unsigned int *)context)[1] == {4711081 + len(name)}" for name in ("one", "other")}
    source = "\n".join(f"{attribute} int {name}(void *context) {{ return {it}; }}" for name, it in verdicts.items())
    shown = succeed("program", "add", compile_source(tmp_path / "two.o", source)).splitlines()
    assert [line.split()[2] for line in shown] == list(verdicts)
    for line in shown:
        tag = line.split()[0]
        (twin.mirror / SOCKET_FILE).write_text(tag)
        assert (twin.mirror / SOCKET_FILE).read_text() == f"{tag}\n"


def test_an_object_that_is_added_again_has_the_new_owner_and_mode(deny_object: Path) -> None:
    tag = succeed("program", "add", deny_object).split()[0]
    succeed("program", "add", "--mode", "0640", "--owner", str(os.getuid() + 1), deny_object)
    (entry,) = [entry for entry in default_store().objects.entries() if f"bpf:{entry.tag}" == tag]
    assert (entry.uid, entry.mode) == (os.getuid() + 1, 0o640)
    succeed("program", "add", deny_object)
    (entry,) = [entry for entry in default_store().objects.entries() if f"bpf:{entry.tag}" == tag]
    assert (entry.uid, entry.mode) == (0, 0o600)


def test_the_objects_that_are_saved_are_those_of_the_files_types(twin: Twin, tmp_path: Path) -> None:
    """A packet filter that nobody has added has the tag of a socket filter that somebody has."""
    succeed("attach", twin.mirror, "egress", compile_verdict(tmp_path, Hook.EGRESS, DENY))
    line = succeed("program", "add", compile_verdict(tmp_path, Hook.SOCKET_CREATE, DENY)).split()[0]
    assert (twin.mirror / CONTROL_FILE[Hook.EGRESS]).read_text() == f"{line}\n"
    done = cgfs("save", "--with-programs", twin.mirror)
    assert json.loads(done.stdout)["programs"] == {}
    assert f"{line} is in no object" in done.stderr


def test_list_says_what_survives_a_reboot(twin: Twin, deny_object: Path) -> None:
    line = added(deny_object)
    with control.filtered(twin.mirror, Hook.SOCKET_CREATE, salt=13) as shown:
        listed = succeed("program", "list").splitlines()
    rows = {row.split()[0]: row for row in listed[1:]}
    assert "stays" in rows[line.removeprefix("bpf:")]
    assert "gone" in rows[shown.strip().removeprefix("bpf:")]


def test_a_removed_program_is_gone_from_the_store_and_stays_attached(twin: Twin, deny_object: Path) -> None:
    line = added(deny_object)
    file = twin.mirror / SOCKET_FILE
    file.write_text(line)
    succeed("program", "remove", line)
    assert_refused(cgfs("program", "show", line), "program list")
    assert file.read_text() == f"{line}\n"


def test_a_damaged_object_is_not_loaded(twin: Twin, deny_object: Path) -> None:
    line = added(deny_object)
    path = next(entry.path for entry in default_store().objects.entries() if f"bpf:{entry.tag}" == line)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(OSError) as caught:
        (twin.mirror / SOCKET_FILE).write_text(line)
    assert caught.value.errno == errno.EBADMSG


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.o").write_text("no object")
    assert_refused(cgfs("program", "add", tmp_path / "text.o"))
