"""Owner, group and mode of a control file, and who may change them.

By default they are those of the directory's cgroup.controllers, mode 0644: the kernel gives that file to the cgroup's
creator, and delegation leaves it alone. What chmod and chown change is kept in a trusted extended attribute of the
directory, which a delegate cannot set, and goes with the cgroup.

Sources: cgroup-v2.rst, "Delegation"; setattr_prepare() in fs/attr.c.
"""

import errno
import json
import time
from dataclasses import dataclass

from cgfs.caller import Capability, Credentials
from cgfs.cgroup import controllers_owner, get_xattr, set_xattr
from cgfs.control import ControlFile

MODE = 0o644
"""Where nobody has changed it."""
_PERMISSIONS = 0o777
"""The bits that mean something on a file that is never run."""
_HIGHEST = {"uid": 2**32 - 2, "gid": 2**32 - 2, "mode": _PERMISSIONS, "changed_at_ns": 2**63 - 1}
"""What is kept, and its highest value."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """*changed_at_ns* is the time of the last chmod or chown (CLOCK_REALTIME), 0 if there was none."""

    uid: int
    gid: int
    mode: int
    changed_at_ns: int

    def __str__(self) -> str:
        return f"uid {self.uid}, gid {self.gid}, mode {self.mode:04o}"


def read(cgroup_fd: int, file: ControlFile) -> Attributes:
    """Those of *file* in the cgroup open as *cgroup_fd* (borrowed). Raises OSError ENODEV if the cgroup is gone."""
    native = controllers_owner(cgroup_fd)
    kept = _kept(cgroup_fd, file)
    return Attributes(
        uid=kept.get("uid", native.uid),
        gid=kept.get("gid", native.gid),
        mode=kept.get("mode", MODE),
        changed_at_ns=kept.get("changed_at_ns", 0),
    )


def change(
    cgroup_fd: int,
    file: ControlFile,
    who: Credentials,
    *,
    mode: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
) -> tuple[Attributes, Attributes]:
    """chmod and chown. Returns what they were and what they are.

    Raises OSError: EPERM if *who* may not, ENODEV if the cgroup is gone.

    The kernel has asked the same before, but by what it had cached, and another chown could have come in between.
    """
    before = read(cgroup_fd, file)
    _check(before, who, mode=mode, uid=uid, gid=gid)
    wanted = {"uid": uid, "gid": gid, "mode": None if mode is None else mode & _PERMISSIONS}
    kept = _kept(cgroup_fd, file) | {name: value for name, value in wanted.items() if value is not None}
    kept["changed_at_ns"] = time.time_ns()
    set_xattr(cgroup_fd, attribute(file), json.dumps(kept).encode("ascii"))
    after = Attributes(
        uid=before.uid if uid is None else uid,
        gid=before.gid if gid is None else gid,
        mode=before.mode if mode is None else mode & _PERMISSIONS,
        changed_at_ns=kept["changed_at_ns"],
    )
    return before, after


def _check(now: Attributes, who: Credentials, *, mode: int | None, uid: int | None, gid: int | None) -> None:
    owner = who.uid == now.uid
    may_chown = Capability.CHOWN in who.capabilities
    refused = []
    if mode is not None and not owner and Capability.FOWNER not in who.capabilities:
        refused.append("mode")
    if uid is not None and not may_chown and not (owner and uid == now.uid):
        refused.append("owner")
    if gid is not None and not may_chown and not (owner and (gid == now.gid or gid in who.groups)):
        refused.append("group")
    if refused:
        what = " and the ".join(refused)
        raise OSError(errno.EPERM, f"uid {who.uid} may not change the {what}: the owner is uid {now.uid}")


def _kept(cgroup_fd: int, file: ControlFile) -> dict[str, int]:
    """What was changed; nothing where the attribute makes no sense."""
    data = get_xattr(cgroup_fd, attribute(file))
    if data is None:
        return {}
    try:
        value = json.loads(data)
        kept = {name: int(value[name]) for name in _HIGHEST if name in value}
    except (ValueError, TypeError, OverflowError, RecursionError):
        return {}
    return kept if all(0 <= number <= _HIGHEST[name] for name, number in kept.items()) else {}


def attribute(file: ControlFile) -> str:
    """The name of the extended attribute."""
    return f"trusted.cgfs.{file.name}.attributes"
