"""The two sides on which acts are done, and what can be seen of a cgroup afterwards."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mount.differential.acts import Scene, attempt, perform
from tests.support.cgroups import cgroup_of, processes, remove_cgroup, temporary_cgroup
from tests.support.child import Child
from tests.support.users import CONTAINER_ROOT_ID, HOST, Identity, Namespaces, delegate
from tests.support.waiting import until

Translate = Callable[[Path], Path]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does the acts; *uid* and *gid* are what its ids are outside."""

    identity: Identity
    namespaces: Namespaces = HOST

    @property
    def uid(self) -> int:
        return CONTAINER_ROOT_ID if self.namespaces.user else self.identity.uid

    @property
    def gid(self) -> int:
        return CONTAINER_ROOT_ID if self.namespaces.user else self.identity.gid


def sleep_for_ever() -> int:
    """In the actor: fork a process that sleeps until it is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                signal.pause()
        finally:
            os._exit(0)
    return pid


def still_asleep(pid: int) -> bool:
    """In the actor: whether its child *pid* lives; reaps it if not."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    return False


class Side:
    """One base cgroup with its actor. *view* gives the path by which the actor sees a cgroup."""

    def __init__(self, top: Path, actor: Actor, view: Translate, stack: contextlib.ExitStack) -> None:
        self.base, self.outside = top / "base", top / "outside"
        self.home, self.tree = self.base / "home", self.base / "tree-0"
        self._performed = 0
        self._view, self._actor = view, actor
        for path in (self.base, self.outside, self.home):
            path.mkdir()
        for path in (self.base, self.home):
            delegate(path, actor.uid, actor.gid)
        self.foreign = stack.enter_context(Child(self.outside))
        self.actor = stack.enter_context(Child(self.base, actor.identity, actor.namespaces))
        self._settle_at_home(self.actor.pid)
        self._wake_mine()

    def _wake_mine(self) -> None:
        """Give the actor its child; the number of it inside and outside a PID namespace."""
        before = set(processes(self.home))
        self.mine_inside = self.actor.call(sleep_for_ever)
        self.mine = until(lambda: set(processes(self.home)) - before, "the actor has a child").pop()

    @staticmethod
    def _settle(pid: int, cgroup: Path) -> None:
        if not cgroup_of(pid).endswith(f"{cgroup.parent.name}/{cgroup.name}"):
            (cgroup / "cgroup.procs").write_text(str(pid))

    def _settle_at_home(self, pid: int) -> None:
        self._settle(pid, self.home)

    def perform(self, name: str) -> tuple[tuple[str, object], object]:
        """Do an act in a fresh tree. What it gave, and what can be seen of the tree afterwards.

        The tree has a name that was never used: what is made on cgroup2 under a name that the mirror knows is seen
        there after a moment only (test_coherence.py), and an act must not depend on that.
        """
        self._performed += 1
        self.tree = self.base / f"tree-{self._performed}"
        self._make_tree()
        try:
            outcome = self.actor.call(perform, name, self._scene())
            seen = self.observe(self.tree)
            if self._view(self.tree) != self.tree:
                assert self.observe(self._view(self.tree)) == seen, "the mirror shows something else than cgroup2"
            return self._without_paths(outcome), seen
        finally:
            self._reset()

    def _scene(self) -> Scene:
        inside = self._actor.namespaces.pid
        foreign = 0x7FFFFFFF if inside else self.foreign.pid
        view = self._view
        return Scene(view(self.tree), view(self.home), view(self.outside), self.mine_inside, foreign)

    def _make_tree(self) -> None:
        for path in (self.tree, self.tree / "a", self.tree / "a" / "deep", self.tree / "b"):
            path.mkdir()
            if self._actor.uid:
                for each in (path, *path.iterdir()):
                    os.chown(each, self._actor.uid, self._actor.gid)
        (self.tree / "roots").mkdir()

    def _reset(self) -> None:
        """Everybody where they were, and the tree gone."""
        self._settle_at_home(self.actor.pid)
        if self.actor.call(still_asleep, self.mine_inside):
            self._settle_at_home(self.mine)
        else:
            self._wake_mine()
        self._settle(self.foreign.pid, self.outside)
        remove_cgroup(self.tree)
        if (self.outside / self.tree.name).exists():
            remove_cgroup(self.outside / self.tree.name)

    def observe(self, tree: Path) -> dict[str, object]:
        """What root sees of every cgroup of *tree*: attributes, contents, members, extended attributes."""
        seen: dict[str, object] = {}
        for top, directories, files in os.walk(tree):
            directories.sort()
            path = Path(top)
            name = os.path.relpath(top, tree)
            seen[name] = attributes(path), attempt(os.listxattr, path)
            for file in files:
                if not file.endswith("_filter"):
                    seen[f"{name}/{file}"] = attributes(path / file)
            for file in CONTENTS:
                seen[f"{name}/{file} says"] = attempt((path / file).read_bytes)
            seen[f"{name} has"] = attempt(lambda path=path: self._members(path))
        return seen

    def _members(self, path: Path) -> list[str]:
        known = {self.actor.pid: "actor", self.mine: "mine", self.foreign.pid: "foreign"}
        return sorted(known.get(pid, f"unknown {pid}") for pid in processes(path))

    def _without_paths(self, outcome: tuple[str, object]) -> tuple[str, object]:
        """Paths of this side in a value would differ for no reason."""
        kind, value = outcome
        if isinstance(value, str):
            value = value.replace(str(self._view(self.base)), "base")
        return kind, value


CONTENTS = (
    "cgroup.controllers",
    "cgroup.events",
    "cgroup.freeze",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.pressure",
    "cgroup.subtree_control",
    "cgroup.type",
)


def attributes(path: Path) -> tuple[str, int, int, int]:
    found = path.lstat()
    return oct(found.st_mode), found.st_uid, found.st_gid, found.st_nlink


class Stage:
    """Both sides of one actor."""

    def __init__(self, native: Side, mirror: Side) -> None:
        self.native, self.mirror = native, mirror


@contextlib.contextmanager
def stage(actor: Actor, to_mirror: Translate) -> Iterator[Stage]:
    """Two sides, one seen on cgroup2 and one on the mirror, each in a cgroup of its own."""
    with temporary_cgroup() as one, temporary_cgroup() as two, contextlib.ExitStack() as stack:
        native = Side(one, actor, lambda path: path, stack)
        yield Stage(native, Side(two, actor, to_mirror, stack))
