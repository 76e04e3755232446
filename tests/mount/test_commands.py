"""cgfs attach, detach, show and tree on a real mirror, against what the kernel and bpftool say."""

import errno
import json
import os
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from cgfs import bpffs, client, hierarchy
from cgfs.mountinfo import cgroup2_options
from tests.mount.conftest import StartOverlay, Twin
from tests.support import programs
from tests.support.bpftool import attached_ids, bpftool
from tests.support.cgroups import deep_cgroups
from tests.support.child import Child, run
from tests.support.command import assert_refused, called, cgfs, succeed
from tests.support.daemon import Overlay, cgfs_command
from tests.support.network import can_create_socket
from tests.support.objects import SECTION, compile_object, compile_source, compile_verdict
from tests.support.programs import ALLOW, ALLOW_MULTI, ALLOW_OVERRIDE, CONTROL_FILE, DENY, Hook
from tests.support.users import ALICE

COMMAND_HOOK = {Hook.INGRESS: "ingress", Hook.EGRESS: "egress", Hook.SOCKET_CREATE: "socket-create"}


def content(cgroup: Path, hook: Hook) -> str:
    return (cgroup / CONTROL_FILE[hook]).read_text()


# --- attach and detach ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", Hook)
def test_an_object_is_attached_and_detached(twin: Twin, tmp_path: Path, hook: Hook) -> None:
    program = compile_verdict(tmp_path, hook, DENY)
    assert succeed("attach", twin.mirror, COMMAND_HOOK[hook], program) == ""
    (program_id,) = attached_ids(twin.native, hook)
    assert content(twin.mirror, hook) == f"bpf:{bpftool('prog', 'show', 'id', str(program_id))['tag']}\n"
    assert succeed("detach", twin.mirror, CONTROL_FILE[hook]) == ""
    assert content(twin.mirror, hook) == "none\n"
    assert attached_ids(twin.native, hook) == []


def test_an_attached_object_does_what_it_says(twin: Twin, tmp_path: Path) -> None:
    program = compile_verdict(tmp_path, Hook.SOCKET_CREATE, DENY)
    assert can_create_socket(twin.native)
    succeed("attach", twin.mirror, "socket-create", program)
    assert not can_create_socket(twin.native)
    succeed("detach", twin.mirror, "socket-create")
    assert can_create_socket(twin.native)


def test_an_overridable_attachment_says_so(twin: Twin, tmp_path: Path) -> None:
    program = compile_verdict(tmp_path, Hook.EGRESS, ALLOW)
    succeed("attach", "--overridable", twin.mirror, "egress", program)
    assert content(twin.mirror, Hook.EGRESS).startswith("bpf(overridable):")


def test_a_program_is_named_by_id_and_by_pin(twin: Twin) -> None:
    pinned = bpffs.MOUNTPOINT / f"cgfs-test-{os.getpid()}"
    with programs.program(Hook.EGRESS, ALLOW) as fd:
        programs.pin(fd, pinned)
        try:
            assert_refused(cgfs("attach", twin.mirror, "egress", f"{pinned}:deny"), "a pin is one program")
            for where in (f"id:{programs.fdinfo_id(fd)}", pinned):
                succeed("attach", twin.mirror, "egress", where)
                assert attached_ids(twin.native, Hook.EGRESS) == [programs.fdinfo_id(fd)]
                succeed("detach", twin.mirror, "egress")
        finally:
            pinned.unlink()


def test_one_of_several_programs_is_named_by_its_section(twin: Twin, tmp_path: Path) -> None:
    both = compile_object(
        tmp_path / "both.o", (SECTION[Hook.INGRESS], "one", ALLOW), (SECTION[Hook.EGRESS], "other", ALLOW)
    )
    assert_refused(cgfs("attach", twin.mirror, "egress", both), "more than one", SECTION[Hook.INGRESS], "other")
    succeed("attach", twin.mirror, "egress", f"{both}:{SECTION[Hook.EGRESS]}")
    (program_id,) = attached_ids(twin.native, Hook.EGRESS)
    assert bpftool("prog", "show", "id", str(program_id))["name"] == "other"


def test_what_cannot_be_attached_is_refused_in_one_line(twin: Twin, tmp_path: Path) -> None:
    program = compile_verdict(tmp_path, Hook.SOCKET_CREATE, ALLOW)
    (tmp_path / "text.o").write_text("this is no object")
    assert_refused(cgfs("attach", twin.mirror, "egress", program), "cgroup_skb", "cgroup/sock_create")
    assert_refused(cgfs("attach", twin.mirror, "egress", tmp_path / "text.o"), "text.o")
    assert_refused(cgfs("attach", twin.mirror, "egress", tmp_path / "missing.o"), "missing.o", "id:N")
    for number in ("4294967295", "4294967296"):
        assert_refused(cgfs("attach", twin.mirror, "egress", f"id:{number}"), number)
    assert content(twin.mirror, Hook.EGRESS) == "none\n"


def test_an_unknown_hook_is_a_wrong_command_line(twin: Twin) -> None:
    done = cgfs("detach", twin.mirror, "forward")
    assert done.returncode == 2
    assert "socket-create" in done.stderr


@pytest.mark.parametrize("command", ["attach", "set"])
def test_both_modes_at_once_are_a_wrong_command_line(twin: Twin, command: str) -> None:
    done = cgfs(command, "--overridable", "--nonrecursive", twin.mirror, "egress", "ip")
    assert done.returncode == 2
    assert "not both" in done.stderr
    assert content(twin.mirror, Hook.EGRESS) == "none\n"


def test_another_mode_is_refused_with_the_way_out(twin: Twin, tmp_path: Path) -> None:
    program = compile_verdict(tmp_path, Hook.EGRESS, ALLOW)
    succeed("attach", "--overridable", twin.mirror, "egress", program)
    assert_refused(cgfs("attach", twin.mirror, "egress", program), "another mode", "detach")


# --- which cgroup -----------------------------------------------------------------------------------------------------


def test_a_path_on_cgroup2_itself_is_refused_with_that_on_the_mirror(twin: Twin) -> None:
    done = cgfs("show", twin.native)
    assert_refused(done, "on no mirror", f"{twin.native}", f"{twin.mirror}")


def test_a_path_elsewhere_is_refused(overlay: Overlay, twin: Twin) -> None:
    assert_refused(cgfs("show", "/tmp"), "/tmp is on no mirror", str(overlay.mountpoint))
    assert_refused(cgfs("tree", twin.mirror / "missing"), "missing", "No such file")
    assert_refused(cgfs("detach", twin.mirror / "cgroup.procs", "egress"), "is no cgroup", str(twin.mirror))
    assert_refused(cgfs("show", f"/{twin.native.name}"), "No such file", f" {twin.mirror}\n")
    assert_refused(cgfs("show", twin.native / "cgroup.procs"), "on no mirror", f" {twin.mirror}\n")


# --- show -------------------------------------------------------------------------------------------------------------


def effective_ids(cgroup: Path, hook: Hook) -> list[int]:
    return list(programs.query(cgroup, hook, effective=True).program_ids)


def in_force(cgroup: Path, hook: Hook) -> list[dict[str, object]]:
    """What `cgfs show --json` says is in force for *hook*."""
    shown = json.loads(succeed("show", "--json", cgroup))
    assert shown["cgroup"] == str(cgroup)
    assert [each["file"] for each in shown["filters"]] == list(CONTROL_FILE.values())
    found: list[dict[str, object]] = shown["filters"][hook]["in_force"]
    return found


def test_show_says_what_is_in_force_and_where_it_comes_from(twin: Twin, tmp_path: Path) -> None:
    inner = twin.mirror / "middle" / "inner"
    inner.mkdir(parents=True)
    outer_id, inner_id, foreign_id = [], [], []
    succeed("attach", twin.mirror, "egress", compile_verdict(tmp_path, Hook.EGRESS, DENY))
    succeed("attach", inner, "egress", compile_verdict(tmp_path, Hook.EGRESS, ALLOW))
    outer_id = attached_ids(twin.native, Hook.EGRESS)
    inner_native = twin.native / "middle" / "inner"
    inner_id = attached_ids(inner_native, Hook.EGRESS)
    with programs.program(Hook.EGRESS, ALLOW, salt=1) as fd:
        programs.attach(inner_native, fd, Hook.EGRESS)
        foreign_id = [programs.fdinfo_id(fd)]
        shown = in_force(inner, Hook.EGRESS)
    assert (
        [each["id"] for each in shown] == inner_id + foreign_id + outer_id == effective_ids(inner_native, Hook.EGRESS)
    )
    assert [each["own"] for each in shown] == [True, True, False]
    root = str(twin.native).removeprefix(str(twin.native.parent))
    assert [each["cgroup"] for each in shown] == [f"{root}/middle/inner", f"{root}/middle/inner", root]
    lines = content(inner, Hook.EGRESS).splitlines() + content(twin.mirror, Hook.EGRESS).splitlines()
    assert [each["filter"] for each in shown] == lines
    for each in shown:
        other = bpftool("prog", "show", "id", str(each["id"]))
        assert (each["name"], each["tag"], each["uid"]) == (other["name"], other["tag"], other["uid"])


def test_who_runs_what_is_right_where_the_same_programs_are_attached_above(twin: Twin) -> None:
    """The inner cgroup's own B runs before its A (BPF_F_PREORDER). The outer one's run as they were attached."""
    inner = twin.native / "inner"
    inner.mkdir()
    with programs.program(Hook.EGRESS, ALLOW, salt=1) as a, programs.program(Hook.EGRESS, ALLOW, salt=2) as b:
        programs.attach(twin.native, a, Hook.EGRESS)
        programs.attach(twin.native, b, Hook.EGRESS)
        programs.attach(inner, a, Hook.EGRESS)
        programs.attach(inner, b, Hook.EGRESS, programs.ALLOW_MULTI | programs.PREORDER)
        line_a, line_b = (f"bpf:{programs.fdinfo_tag(fd)}" for fd in (a, b))
        ids = [programs.fdinfo_id(fd) for fd in (b, a, a, b)]
        assert effective_ids(inner, Hook.EGRESS) == ids
        assert content(twin.mirror / "inner", Hook.EGRESS) == f"{line_b}\n{line_a}\n"
        shown = in_force(twin.mirror / "inner", Hook.EGRESS)
    assert [each["id"] for each in shown] == ids
    assert [each["own"] for each in shown] == [True, True, False, False]
    assert [each["filter"] for each in shown] == [line_b, line_a, line_a, line_b]


def test_show_leaves_the_options_of_cgroup2_alone(twin: Twin, nsdelegate: None) -> None:
    """Whoever mounts cgroup2, anywhere, gives it other options, unless he names those that it has."""
    before = cgroup2_options()
    assert before is not None
    assert "nsdelegate" in before
    succeed("show", twin.mirror)
    succeed("explain", twin.mirror, "egress")
    assert cgroup2_options() == before


def test_a_mirror_of_a_bind_mount_says_what_is_attached_to_its_root(
    tmp_cgroup: Path, tmp_path: Path, start_overlay: StartOverlay
) -> None:
    """Of several programs the order is asked of the kernel; above that directory is no cgroup."""
    bound = tmp_path / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", tmp_cgroup, bound], check=True)
    try:
        with start_overlay(source=bound) as overlay, programs.program(Hook.EGRESS, ALLOW) as fd:
            file = overlay.mountpoint / CONTROL_FILE[Hook.EGRESS]
            file.write_text("cbpf:1,6 0 0 1")
            programs.attach(tmp_cgroup, fd, Hook.EGRESS)
            expected = f"cbpf:1,6 0 0 1\nbpf:{programs.fdinfo_tag(fd)}\n"
            assert (file.read_text(), file.stat().st_size) == (expected, len(expected))
            file.write_text("none")
            assert file.read_text() == "none\n"
    finally:
        subprocess.run(["umount", bound], check=True)


def test_an_overridden_filter_is_not_in_force(twin: Twin, tmp_path: Path) -> None:
    inner = twin.mirror / "inner"
    inner.mkdir()
    succeed("attach", "--overridable", twin.mirror, "egress", compile_verdict(tmp_path, Hook.EGRESS, DENY))
    assert [each["own"] for each in in_force(inner, Hook.EGRESS)] == [False]
    succeed("attach", "--overridable", inner, "egress", compile_verdict(tmp_path, Hook.EGRESS, ALLOW))
    assert [each["own"] for each in in_force(inner, Hook.EGRESS)] == [True]


def test_what_is_attached_above_the_mirror_is_in_force_too(
    twin: Twin, tmp_path: Path, start_overlay: StartOverlay
) -> None:
    (twin.native / "inner").mkdir()
    with programs.program(Hook.EGRESS, ALLOW) as fd, start_overlay(source=twin.native / "inner") as below:
        programs.attach(twin.native, fd, Hook.EGRESS)
        (shown,) = in_force(below.mountpoint, Hook.EGRESS)
        assert (shown["id"], shown["own"]) == (programs.fdinfo_id(fd), False)
        assert (shown["cgroup"], shown["filter"]) == (f"/{twin.native.name}", f"bpf:{programs.fdinfo_tag(fd)}")


def test_show_is_readable(twin: Twin, tmp_path: Path) -> None:
    (twin.mirror / "inner").mkdir()
    succeed("attach", twin.mirror, "socket-create", compile_verdict(tmp_path, Hook.SOCKET_CREATE, DENY))
    shown = succeed("show", twin.mirror / "inner").splitlines()
    assert shown[0] == str(twin.mirror / "inner")
    assert [line.split() for line in shown[1:4]] == [[name, "none"] for name in CONTROL_FILE.values()]
    heading, row = shown[4:]
    assert heading.split() == ["in", "force", "filter", "id", "name", "loaded", "attached", "by"]
    words = row.split()
    assert words[0] == f"/{twin.native.name}"
    assert words[1] == content(twin.mirror, Hook.SOCKET_CREATE).strip()
    assert words[3] == "deny"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d root", " ".join(words[4:]))


def test_of_a_guarded_program_it_is_the_program_that_is_shown(twin: Twin, tmp_path: Path) -> None:
    """Not the guard, which is attached."""
    deny = compile_verdict(tmp_path, Hook.SOCKET_CREATE, DENY)
    succeed("attach", "--nonrecursive", twin.mirror, "socket-create", deny)
    (shown,) = in_force(twin.mirror, Hook.SOCKET_CREATE)
    assert [shown["guard_id"]] == attached_ids(twin.native, Hook.SOCKET_CREATE)
    assert shown["id"] != shown["guard_id"]
    assert shown["name"] == "deny"
    assert shown["filter"] == f"bpf(nonrecursive):{shown['tag']}"
    assert f"a BPF program, id {shown['id']}" in succeed("explain", twin.mirror, "socket-create")


def test_what_holds_for_one_cgroup_only_is_not_in_force_below_it(twin: Twin, tmp_path: Path) -> None:
    (twin.mirror / "inner").mkdir()
    succeed("attach", "--nonrecursive", twin.mirror, "egress", compile_verdict(tmp_path, Hook.EGRESS, DENY))
    succeed("set", "--nonrecursive", twin.mirror, "socket-create", "inet")
    for hook in (Hook.EGRESS, Hook.SOCKET_CREATE):
        assert len(effective_ids(twin.native / "inner", hook)) == 1
        assert in_force(twin.mirror / "inner", hook) == []
        assert [each["own"] for each in in_force(twin.mirror, hook)] == [True]


@pytest.mark.parametrize(("flags", "words"), [(ALLOW_MULTI, "multi"), (ALLOW_OVERRIDE, "override"), (0, "")])
def test_show_says_how_others_have_attached_a_program(twin: Twin, flags: int, words: str) -> None:
    with programs.program(Hook.EGRESS, ALLOW) as fd:
        programs.attach(twin.native, fd, Hook.EGRESS, flags)
        assert [each["attach_flags"] for each in in_force(twin.mirror, Hook.EGRESS)] == [words]
        assert ("(exclusive)" in succeed("show", twin.mirror)) == (not flags)
        assert ("whoever may open the cgroup's directory" in succeed("explain", twin.mirror, "egress")) == (not flags)
        assert ("nobody below can undo it" in succeed("explain", twin.mirror, "egress")) == (flags == ALLOW_MULTI)


def test_show_says_what_came_through_the_file_and_by_whom(twin: Twin) -> None:
    path = twin.mirror / CONTROL_FILE[Hook.SOCKET_CREATE]
    os.chown(path, ALICE.uid, ALICE.gid)
    with (
        programs.program(Hook.SOCKET_CREATE, ALLOW) as direct,
        programs.program(Hook.SOCKET_CREATE, ALLOW, salt=1) as linked,
        Child(identity=ALICE) as alice,
    ):
        alice.call(path.write_text, "families:inet")
        programs.attach(twin.native, direct, Hook.SOCKET_CREATE)
        with programs.link(twin.native, linked, Hook.SOCKET_CREATE):
            shown = json.loads(succeed("show", "--json", twin.mirror))["filters"][2]["in_force"]
            rows = succeed("show", twin.mirror).splitlines()[-3:]
        assert [each["attached"] for each in shown] == ["file", "direct", "link"]
        assert [each["attached_by"] and each["attached_by"]["uid"] for each in shown] == [ALICE.uid, None, None]
        assert shown[0]["attached_by"]["pid"] == alice.pid
    name = next((each.pw_name for each in pwd.getpwall() if each.pw_uid == ALICE.uid), str(ALICE.uid))
    assert [row.split()[-1] for row in rows] == [name, "others", "bpf_link"]


def test_explain_tells_apart_two_programs_that_do_the_same(twin: Twin) -> None:
    with programs.program(Hook.EGRESS, ALLOW) as first, programs.program(Hook.EGRESS, ALLOW) as second:
        for fd in (first, second):
            programs.attach(twin.native, fd, Hook.EGRESS)
        explained = succeed("explain", twin.mirror, "egress")
        assert all(f"id {programs.fdinfo_id(fd)}" in explained for fd in (first, second))


def test_who_is_not_told_what_is_in_force_is_told_that(twin: Twin) -> None:
    words = "what is in force from above is told to root only"
    assert words not in succeed("show", twin.mirror)
    for command in (["show", str(twin.mirror)], ["explain", str(twin.mirror), "egress"]):
        done = called(["setpriv", f"--reuid={ALICE.uid}", "--clear-groups", *cgfs_command(), *command])
        assert (done.returncode, done.stdout.count(words)) == (0, 1), done


def test_a_program_does_not_hide_behind_a_map_that_looks_like_counters(twin: Twin, tmp_path: Path) -> None:
    hidden = compile_source(
        tmp_path / "hidden.o",
        """
        struct {
            int (*type)[6]; /* BPF_MAP_TYPE_PERCPU_ARRAY */
            unsigned int *key;
            unsigned long *value;
            int (*max_entries)[1];
        } cgfs_counters __attribute__((section(".maps"), used));
        static void *(*const lookup)(void *map, const void *key) = (void *)1;
        __attribute__((section("cgroup_skb/egress"), used)) int hidden(void *context)
        {
            unsigned int key = 0;
            return lookup(&cgfs_counters, &key) != 0;
        }
        """,
    )
    succeed("attach", twin.mirror, "egress", hidden)
    (shown,) = in_force(twin.mirror, Hook.EGRESS)
    assert (shown["name"], shown["counters"]) == ("hidden", None)


def test_others_than_root_see_what_the_files_say(twin: Twin) -> None:
    with programs.program(Hook.EGRESS, ALLOW) as fd:
        programs.attach(twin.native, fd, Hook.EGRESS)
        seen = run(lambda: hierarchy.filters_of(twin.mirror), identity=ALICE)
        assert [each.in_force for each in seen] == [None, None, None]
        assert [each.lines for each in seen] == [("none",), (f"bpf:{programs.fdinfo_tag(fd)}",), ("none",)]


# --- tree -------------------------------------------------------------------------------------------------------------


def test_tree_shows_the_cgroups_with_filters(twin: Twin, tmp_path: Path) -> None:
    for name in ("a/b/c", "a/plain", "other"):
        (twin.mirror / name).mkdir(parents=True)
    program = compile_verdict(tmp_path, Hook.EGRESS, ALLOW)
    succeed("attach", twin.mirror / "a" / "b", "egress", program)
    succeed("attach", twin.mirror / "other", "egress", program)
    line = content(twin.mirror / "other", Hook.EGRESS).strip()
    assert json.loads(succeed("tree", "--json", twin.mirror)) == [
        {"cgroup": str(twin.mirror / "a" / "b"), "filters": {"net.egress_filter": [line]}},
        {"cgroup": str(twin.mirror / "other"), "filters": {"net.egress_filter": [line]}},
    ]
    assert [each.split() for each in succeed("tree", twin.mirror).splitlines()] == [
        [str(twin.mirror)],
        ["├──", "a"],
        ["│", "└──", "b"],
        ["│", "net.egress_filter", line],
        ["└──", "other"],
        ["net.egress_filter", line],
    ]


def test_a_name_does_nothing_to_the_terminal(twin: Twin, tmp_path: Path) -> None:
    (twin.mirror / "\x1b[2J[bold]").mkdir()
    succeed("attach", twin.mirror / "\x1b[2J[bold]", "egress", compile_verdict(tmp_path, Hook.EGRESS, ALLOW))
    for command in (("tree", twin.mirror), ("show", twin.mirror / "\x1b[2J[bold]")):
        assert "\\x1b[2J[bold]" in succeed(*command)


def test_a_cgroup_that_vanishes_during_the_walk_is_no_error(twin: Twin) -> None:
    for name in ("a", "b", "c"):
        (twin.mirror / name).mkdir()
    with programs.program(Hook.EGRESS, ALLOW) as fd:
        for name in ("a", "b", "c"):
            programs.attach(twin.native / name, fd, Hook.EGRESS)
        walk = hierarchy.filtered_cgroups(twin.mirror)
        assert next(walk).path.name == "a"
        (twin.native / "b").rmdir()
        assert [each.path.name for each in walk] == ["c"]


# --- client -----------------------------------------------------------------------------------------------------------


def test_a_python_program_attaches_reads_and_detaches(twin: Twin, tmp_path: Path) -> None:
    path = twin.mirror / "net.egress_filter"
    with programs.program(Hook.EGRESS, ALLOW) as fd:
        client.attach(path, fd)
        assert client.read(path) == f"bpf:{programs.fdinfo_tag(fd)}\n"
        client.attach(str(path), compile_verdict(tmp_path, Hook.EGRESS, DENY))
        assert client.read(path) != f"bpf:{programs.fdinfo_tag(fd)}\n"
        client.detach(path)
        assert client.read(str(path)) == "none\n"


def test_the_client_s_errors_say_what_was_wrong(twin: Twin) -> None:
    path = twin.mirror / "net.egress_filter"
    with (
        programs.program(Hook.SOCKET_CREATE) as fd,
        pytest.raises(OSError, match="type that this file takes") as caught,
    ):
        client.attach(path, fd)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(path))
    with pytest.raises(OSError, match="no control file") as caught:
        client.detach(twin.mirror / "cgroup.procs")
    with pytest.raises(PermissionError, match="owner and mode"):
        run(lambda: client.detach(path), identity=ALICE)


@pytest.mark.parametrize("name", ["precious", "egress", "net.egress_filter"])
def test_the_client_never_writes_to_other_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("content")
    with pytest.raises(OSError, match="no control file"):
        client.detach(tmp_path / name)
    assert (tmp_path / name).read_text() == "content"


def test_mounts_of_odd_names_are_no_lines_of_their_own(twin: Twin, tmp_path: Path) -> None:
    odd = tmp_path / "a\rb\u2028c\x85d"
    odd.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", odd], check=True)
    try:
        succeed("tree", twin.mirror)
    finally:
        subprocess.run(["umount", odd], check=True)


def test_a_path_that_is_too_long_hides_no_other(twin: Twin) -> None:
    (twin.mirror / "y").mkdir()
    (twin.mirror / "y" / CONTROL_FILE[Hook.SOCKET_CREATE]).write_text("families:inet")
    with deep_cgroups(twin.native):
        for command in ("tree", "save"):
            done = cgfs(command, twin.mirror)
            assert done.returncode == 0
            assert "families:inet" in done.stdout
            assert "too long" in done.stderr


def test_a_current_directory_that_is_gone_is_called_so(twin: Twin) -> None:
    (twin.mirror / "gone").mkdir()
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@" .'
    for command in ("show", "tree", "save"):
        done = called(["sh", "-ec", script, "sh", str(twin.mirror / "gone"), *cgfs_command(), command])
        (twin.mirror / "gone").mkdir()
        assert_refused(done, ".: the current directory is gone")


@pytest.mark.parametrize("command", ["show", "tree", "save"])
def test_a_mirror_whose_daemon_was_killed_is_called_so(
    start_overlay: StartOverlay, tmp_cgroup: Path, command: str
) -> None:
    (tmp_cgroup / "below").mkdir()
    with start_overlay(source=tmp_cgroup) as overlay:
        succeed(command, overlay.mountpoint)
        overlay.kill()
        for path in (overlay.mountpoint, overlay.mountpoint / "below"):
            assert_refused(cgfs(command, path), f"{path}: the daemon of this mirror has ended", "`cgfs mount`")
