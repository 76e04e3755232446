"""Which program of the store a tag means for a user. Pure: looks at entries, opens nothing."""

import errno
from collections.abc import Iterable

from cgfs.bpf import ProgType
from cgfs.store.entry import Entry, User


class AmbiguousTagError(OSError):
    """Two different programs have this tag and are equally near: EINVAL."""

    def __init__(self, tag: str, entries: Iterable[Entry]) -> None:
        where = ", ".join(sorted(str(entry.path) for entry in entries))
        super().__init__(errno.EINVAL, f"bpf:{tag} is ambiguous: remove all but one of {where}")


def choose(entries: Iterable[Entry], tag: str, prog_type: ProgType, user: User) -> Entry:
    """The entry that `bpf:<tag>` means for *user*: an own one before one that permissions allow.

    Raises OSError EINVAL: no entry of that tag and type that *user* may use, or two that are equally near.
    """
    usable = [entry for entry in entries if entry.tag == tag and entry.prog_type == prog_type and user.may_use(entry)]
    nearest = [entry for entry in usable if user.owns(entry)] or usable
    if not nearest:
        what = f"{prog_type.name} program {tag} that uid {user.uid} may use"
        raise OSError(errno.EINVAL, f"the program store has no {what}: `cgfs program list` shows what it has")
    if len({entry.content for entry in nearest}) > 1:
        raise AmbiguousTagError(tag, nearest)
    return nearest[0]
