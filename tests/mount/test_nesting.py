"""Filters above and below each other: the proposal's transcript, turned around.

outer     deny
  inner   allow      default: a socket in inner is refused all the same
    leaf             so is one in here
beside               not below outer: its sockets are made
"""

import errno
import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.mount.conftest import Twin
from tests.mount.test_attach import WORD, line
from tests.support import control, programs
from tests.support.bpftool import attached_ids
from tests.support.child import run
from tests.support.control import NONRECURSIVE, OVERRIDABLE, error_of
from tests.support.network import passes
from tests.support.programs import ALLOW, CONTROL_FILE, DENY, Hook, fdinfo_id, program, query
from tests.support.users import ALICE, delegate

every_hook = pytest.mark.parametrize("hook", Hook)


@dataclass(frozen=True, slots=True)
class Tree:
    """The cgroups of the docstring, on cgroup2 and on the mirror."""

    twin: Twin

    def native(self, name: str) -> Path:
        return self.twin.native / self._place(name)

    def file(self, name: str, hook: Hook) -> Path:
        return self.twin.mirror / self._place(name) / CONTROL_FILE[hook]

    @staticmethod
    def _place(name: str) -> str:
        return {"outer": "outer", "inner": "outer/inner", "leaf": "outer/inner/leaf", "beside": "beside"}[name]


@pytest.fixture
def tree(twin: Twin) -> Tree:
    for name in ("outer/inner/leaf", "beside"):
        (twin.mirror / name).mkdir(parents=True)
    return Tree(twin)


@every_hook
def test_an_allow_below_a_deny_gains_nothing(tree: Tree, hook: Hook) -> None:
    with program(hook, DENY) as deny, program(hook, ALLOW) as allow:
        control.attach(tree.file("outer", hook), deny)
        control.attach(tree.file("inner", hook), allow)
        assert {name: passes(tree.native(name), hook) for name in ("outer", "inner", "leaf", "beside")} == {
            "outer": {False},
            "inner": {False},
            "leaf": {False},
            "beside": {True},
        }
        assert tree.file("inner", hook).read_text() == line(allow)
        assert query(tree.native("leaf"), hook, effective=True).program_ids == (fdinfo_id(allow), fdinfo_id(deny))


@every_hook
@pytest.mark.parametrize("flags", [0, programs.ALLOW_OVERRIDE, programs.ALLOW_MULTI])
def test_a_deny_holds_also_for_what_was_there_before(tree: Tree, hook: Hook, flags: int) -> None:
    """With flags 0, as plain BPF_PROG_ATTACH has it, a descendant that has a program already is not restricted."""
    with program(hook, DENY) as deny, program(hook, ALLOW) as allow:
        programs.attach(tree.native("inner"), allow, hook, flags)
        control.attach(tree.file("outer", hook), deny)
        assert passes(tree.native("inner"), hook) == passes(tree.native("leaf"), hook) == {False}


def test_why_not_flags_0(tree: Tree) -> None:
    """What the default would be without BPF_F_ALLOW_MULTI: the descendant that was there first goes free."""
    with program(Hook.SOCKET_CREATE, DENY) as deny, program(Hook.SOCKET_CREATE, ALLOW) as allow:
        programs.attach(tree.native("inner"), allow, Hook.SOCKET_CREATE, flags=0)
        programs.attach(tree.native("outer"), deny, Hook.SOCKET_CREATE, flags=0)
        assert passes(tree.native("inner"), Hook.SOCKET_CREATE) == {True}


@every_hook
def test_a_deny_below_an_allow_denies(tree: Tree, hook: Hook) -> None:
    with program(hook, DENY) as deny, program(hook, ALLOW) as allow:
        control.attach(tree.file("outer", hook), allow)
        control.attach(tree.file("inner", hook), deny)
    assert [passes(tree.native(name), hook) for name in ("outer", "inner", "leaf")] == [{True}, {False}, {False}]


@every_hook
def test_what_is_overridable_is_overridden_by_opt_in(tree: Tree, hook: Hook) -> None:
    with program(hook, DENY) as deny, program(hook, ALLOW) as allow:
        control.attach(tree.file("outer", hook), deny, OVERRIDABLE)
        assert [passes(tree.native(name), hook) for name in ("outer", "inner", "leaf")] == [{False}] * 3
        for flags in (0, OVERRIDABLE, NONRECURSIVE):
            control.attach(tree.file("inner", hook), allow, flags)
            assert [passes(tree.native(name), hook) for name in ("outer", "inner")] == [{False}, {True}]
            tree.file("inner", hook).write_text("none")
            assert passes(tree.native("inner"), hook) == {False}


@every_hook
def test_what_is_nonrecursive_says_nothing_about_those_below(tree: Tree, hook: Hook) -> None:
    with program(hook, DENY) as deny, program(hook, DENY, salt=1) as other:
        control.attach(tree.file("outer", hook), deny, NONRECURSIVE)
        assert [passes(tree.native(name), hook) for name in ("outer", "inner", "leaf")] == [{False}, {True}, {True}]
        control.attach(tree.file("inner", hook), other, NONRECURSIVE)
        assert [passes(tree.native(name), hook) for name in ("outer", "inner", "leaf")] == [{False}, {False}, {True}]


def test_which_modes_the_kernel_allows_below_which(tree: Tree) -> None:
    """MULTI and overridable allow every mode below them; below flags 0, which cgfs never uses, nothing is allowed."""
    hook = Hook.EGRESS
    with program(hook, ALLOW) as above, program(hook, ALLOW, salt=1) as below:
        for outer, inner in itertools.product(WORD, WORD):
            control.attach(tree.file("outer", hook), above, outer)
            control.attach(tree.file("inner", hook), below, inner)
            assert tree.file("inner", hook).read_text() == line(below, inner)
            tree.file("inner", hook).write_text("none")
            tree.file("outer", hook).write_text("none")
        programs.attach(tree.native("outer"), above, hook, flags=0)
        for inner in WORD:
            assert error_of(partial(control.attach, tree.file("inner", hook), below, inner)) == errno.EBUSY
        assert tree.file("inner", hook).read_text() == "none\n"


# An unprivileged user who can open the directory: bpf(2) is hers, BPF_PROG_DETACH asks for no capability.


def can_detach(cgroup: Path, hook: Hook) -> int:
    """The errno with which Alice fails to detach what is attached to *cgroup*, 0 if she does not."""
    return run(lambda: error_of(lambda: programs.detach(cgroup, hook)), identity=ALICE)


@every_hook
def test_an_unprivileged_user_can_neither_detach_nor_replace_a_default_filter(tree: Tree, hook: Hook) -> None:
    delegate(tree.native("outer"), ALICE.uid, ALICE.gid)
    cgroup = tree.native("outer")
    with program(hook, DENY) as deny:
        control.attach(tree.file("outer", hook), deny)
        ids = [fdinfo_id(deny)]
    with program(hook, ALLOW) as allow:  # one that she got from somebody, as she got none of the filter's
        attacks = (
            partial(programs.detach, cgroup, hook),
            partial(programs.detach, cgroup, hook, allow),
            partial(programs.attach, cgroup, allow, hook, 0),
            partial(programs.attach, cgroup, allow, hook, programs.ALLOW_OVERRIDE),
            partial(programs.attach, cgroup, allow, hook, programs.ALLOW_MULTI | programs.REPLACE, allow),
        )
        for attack in attacks:
            assert run(partial(error_of, attack), identity=ALICE) != 0
    assert attached_ids(cgroup, hook) == ids
    assert passes(cgroup, hook) == {False}


@pytest.mark.parametrize("flags", [0, programs.ALLOW_OVERRIDE])
def test_a_plain_attachment_can_be_detached_by_anybody_which_is_why_it_is_not_used(tree: Tree, flags: int) -> None:
    cgroup, hook = tree.native("outer"), Hook.SOCKET_CREATE
    with program(hook, DENY) as deny:
        programs.attach(cgroup, deny, hook, flags)
    assert passes(cgroup, hook) == {False}
    assert can_detach(cgroup, hook) == 0
    assert passes(cgroup, hook) == {True}


def test_what_overridable_costs(tree: Tree) -> None:
    """As the documentation says: whoever can open the directory can detach it."""
    with program(Hook.SOCKET_CREATE, DENY) as deny:
        control.attach(tree.file("outer", Hook.SOCKET_CREATE), deny, OVERRIDABLE)
    assert can_detach(tree.native("outer"), Hook.SOCKET_CREATE) == 0
    assert tree.file("outer", Hook.SOCKET_CREATE).read_text() == "none\n"


@every_hook
def test_the_admin_of_a_container_gains_nothing(tree: Tree, hook: Hook) -> None:
    """Alice has the subtree below outer: she may filter there, and what she attaches can only deny more."""
    with program(hook, DENY) as deny, program(hook, ALLOW) as allow:
        control.attach(tree.file("outer", hook), deny)
        for name in ("inner", "leaf"):
            delegate(tree.native(name), ALICE.uid, ALICE.gid)
        below = tree.file("inner", hook).parent / "hers"
        run(below.mkdir, identity=ALICE)
        run(lambda: control.attach(below / CONTROL_FILE[hook], allow), identity=ALICE)
        assert (below / CONTROL_FILE[hook]).read_text() == line(allow)
        for act in (
            partial(control.attach, tree.file("outer", hook), allow),
            partial(tree.file("outer", hook).write_text, "none"),
            partial(control.attach, tree.file("inner", hook), allow),
        ):
            assert run(partial(error_of, act), identity=ALICE) == errno.EACCES
    assert passes(tree.native("inner") / "hers", hook) == {False}
