"""Who a child of a test is: ids, supplementary groups, capabilities, and namespaces of its own.

Source: credentials(7), capabilities(7), user_namespaces(7), cgroup_namespaces(7), pid_namespaces(7).
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.support.syscalls import (
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_PDEATHSIG,
    Capability,
    CloneFlag,
    prctl,
    set_capabilities,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user: *capabilities* None means what the kernel gives that uid (all for 0, none for others)."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    capabilities: frozenset[Capability] | None = None

    def assume(self) -> None:
        """Become this user, for good. A user other than root looks as one who has logged in (dumpable)."""
        prctl(PR_SET_KEEPCAPS, 1 if self.capabilities is not None else 0)
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        if self.capabilities is not None:
            set_capabilities(self.capabilities)
        prctl(PR_SET_DUMPABLE, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def with_capabilities(self, *capabilities: Capability) -> "Identity":
        return Identity(self.uid, self.gid, self.groups, frozenset(capabilities))


ROOT = Identity(0, 0)
ALICE = Identity(1000, 1000)
BOB = Identity(1001, 1001)

CONTAINER_ROOT_ID = 100_000
"""The host's uid and gid of uid 0 in a user namespace of the tests."""
CONTAINER_IDS = 65_536


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces that a child gets of its own.

    In a user namespace its ids are those of the namespace: 0 is CONTAINER_ROOT_ID outside. The root of a
    cgroup namespace is the cgroup that the child was put into.
    """

    user: bool = False
    pid: bool = False
    cgroup: bool = False
    mount: bool = False
    net: bool = False

    def flags(self) -> CloneFlag:
        flags = CloneFlag(0)
        for wanted, flag in (
            (self.user, CloneFlag.NEWUSER),
            (self.pid, CloneFlag.NEWPID),
            (self.cgroup, CloneFlag.NEWCGROUP),
            (self.mount, CloneFlag.NEWNS),
            (self.net, CloneFlag.NEWNET),
        ):
            if wanted:
                flags |= flag
        return flags


HOST = Namespaces()
CONTAINER = Namespaces(user=True, pid=True, cgroup=True)


def map_ids(pid: int) -> None:
    """Map the ids of *pid*'s new user namespace: done from outside, by root."""
    line = f"0 {CONTAINER_ROOT_ID} {CONTAINER_IDS}\n"
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(line)


def delegate(cgroup: Path, uid: int, gid: int) -> None:
    """Delegate *cgroup* (a path on cgroup2 or on the mirror) as cgroup-v2.rst says: the directory and three
    files.
    """
    os.chown(cgroup, uid, gid)
    for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
        os.chown(cgroup / name, uid, gid)
