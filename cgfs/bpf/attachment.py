"""Programs attached to cgroups: attach, replace, detach, and what the kernel says is attached.

Every error names the hook. A cgroup that has been removed is ENODEV, whatever the kernel says of it
(ENOENT, as for a program that is not attached). Keeps no state. Source: bpf(2), kernel/bpf/cgroup.c.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from cgfs._native import ffi, lib
from cgfs.bpf.kernel import AttachFlags, AttachType
from cgfs.bpf.program import program_info
from cgfs.descriptor import Descriptor
from cgfs.errors import check

_MOST_PROGRAMS_OF_ONE_CGROUP = 64  # BPF_CGROUP_MAX_PROGS


class AttachedProgram(NamedTuple):
    """A program that is attached to a cgroup itself; *loaded_at_ns* is on CLOCK_BOOTTIME."""

    id: int
    tag: str
    loaded_at_ns: int


class AttachedPrograms(NamedTuple):
    """What is attached to a cgroup itself. *revision* changes with every change; a kernel before 6.17 says 0."""

    flags: AttachFlags
    revision: int
    programs: tuple[AttachedProgram, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A bpf_link that attaches the program *prog_id* to a cgroup."""

    id: int
    prog_id: int


def query(cgroup_fd: int, attach_type: AttachType, *, effective: bool = False) -> tuple[int, ...]:
    """The ids of what is attached to the cgroup open as *cgroup_fd* (borrowed) itself, links included; with
    *effective* of all that runs for its members, ancestors' programs included, in the order in which it runs.

    Raises OSError: ENODEV if the cgroup is gone, EBADF if *cgroup_fd* is no cgroup's directory.
    Source: bpf(2), BPF_PROG_QUERY.
    """
    flags = lib.BPF_F_QUERY_EFFECTIVE if effective else 0
    ids, answer = _all_of(attach_type, "uint32_t[]", partial(lib.cgfs_prog_query, cgroup_fd, attach_type, flags))
    return tuple(ids[0 : answer.count])


def attached(cgroup_fd: int, attach_type: AttachType) -> AttachedPrograms:
    """What is attached to the cgroup open as *cgroup_fd* (borrowed) itself, links included, and what each program is.

    Raises OSError: as query(), and EAGAIN if a program was let go while it was looked at.
    """
    ask = partial(lib.cgfs_attached, cgroup_fd, attach_type)
    programs, answer = _all_of(attach_type, "struct cgfs_attached[]", ask)
    return AttachedPrograms(
        AttachFlags(answer.attach_flags),
        answer.revision,
        tuple(
            AttachedProgram(each.id, bytes(each.tag).hex(), each.loaded_at_ns) for each in programs[0 : answer.count]
        ),
    )


def attach(
    cgroup_fd: int,
    prog_fd: int,
    attach_type: AttachType,
    flags: AttachFlags,
    *,
    replace_fd: int | None = None,
    revision: int = 0,
) -> None:
    """Attach the program *prog_fd* to the cgroup open as *cgroup_fd* (both borrowed); with *replace_fd*
    (borrowed) in place of that program, in one step; with *revision* only if nothing has changed since attached()
    said so (a kernel before 6.17 says 0, which asks for nothing).

    Raises OSError: ENODEV if the cgroup is gone; ENOENT if *replace_fd* is not attached here; EINVAL if *prog_fd*
    is no program, or none for this hook; EEXIST if it is attached here already, with ALLOW_MULTI (the kernel's
    EINVAL); EPERM if a program here or above is attached in another mode; E2BIG if there are 64; ESTALE if there is
    another revision.
    Source: bpf(2), BPF_PROG_ATTACH.
    """
    if replace_fd is not None:
        flags |= AttachFlags.REPLACE
    result = lib.cgfs_prog_attach(
        cgroup_fd, prog_fd, attach_type, flags, -1 if replace_fd is None else replace_fd, revision
    )
    if result >= 0:
        return
    doing = f"attaching a program to {attach_type.name}"
    if result == -errno.EINVAL and _is_attached(cgroup_fd, prog_fd, attach_type):
        raise OSError(errno.EEXIST, f"{doing}: it is attached to this cgroup already")
    gone = result == -errno.ENOENT and _is_gone(cgroup_fd, attach_type)
    raise _error(-result, doing, gone=gone)


def check_hook(prog_fd: int, attach_type: AttachType) -> None:
    """Ask the kernel whether it would attach the program *prog_fd* (borrowed) to that hook of any cgroup.

    Raises OSError: EINVAL if not. An attach to no cgroup is told that before EBADF (bpf_prog_attach() in
    kernel/bpf/syscall.c).
    """
    result = lib.cgfs_prog_attach(-1, prog_fd, attach_type, AttachFlags.ALLOW_MULTI, -1, 0)
    if result != -errno.EBADF:
        raise _error(-result, f"asking whether a program fits {attach_type.name}", gone=False)


def detach(cgroup_fd: int, attach_type: AttachType, prog_fd: int, *, revision: int = 0) -> None:
    """Detach the program *prog_fd* from the cgroup open as *cgroup_fd* (both borrowed). Without ALLOW_MULTI that is the
    one program of the cgroup, whatever *prog_fd* is: *revision* (as in `attach`) makes sure of it. A program that a
    link holds is not detached.

    Raises OSError: ENODEV if the cgroup is gone, ENOENT if the program is not attached here, ESTALE if there is another
    revision. Source: bpf(2), BPF_PROG_DETACH.
    """
    result = lib.cgfs_prog_detach(cgroup_fd, attach_type, prog_fd, revision)
    if result < 0:
        gone = result == -errno.ENOENT and _is_gone(cgroup_fd, attach_type)
        raise _error(-result, f"detaching a program from {attach_type.name}", gone=gone)


def links(cgroup_id: int, attach_type: AttachType) -> tuple[Link, ...]:
    """The links that attach programs to that cgroup itself.

    A link that is made or goes at the same moment may be in the answer or not.
    Source: bpf(2), BPF_LINK_GET_NEXT_ID, BPF_OBJ_GET_INFO_BY_FD.
    """
    capacity = _MOST_PROGRAMS_OF_ONE_CGROUP
    while True:
        found = ffi.new("struct cgfs_link[]", capacity)
        count = check(
            lib.cgfs_links(cgroup_id, attach_type, found, capacity),
            f"asking for the links of {attach_type.name}",
        )
        if count <= capacity:
            return tuple(Link(found[i].id, found[i].prog_id) for i in range(count))
        capacity = 2 * count


def detach_link(link_id: int) -> None:
    """Take the program of that link off its cgroup. The link stays as long as somebody has it, and does
    nothing.

    Raises OSError ENOENT if there is no such link. Source: bpf(2), BPF_LINK_DETACH.
    """
    doing = f"detaching the bpf_link with id {link_id}"
    with Descriptor(check(lib.cgfs_open_id(lib.CGFS_LINK, link_id), doing)) as link:
        check(lib.cgfs_link_detach(link.fd), doing)


def _all_of(attach_type: AttachType, array: str, ask: Callable[[Any, int, Any], int]) -> tuple[Any, Any]:
    """An *array* as large as it takes, filled by *ask*, and the struct cgfs_query that says how far."""
    answer = ffi.new("struct cgfs_query *")
    capacity = _MOST_PROGRAMS_OF_ONE_CGROUP
    while True:
        found = ffi.new(array, capacity)
        result = ask(found, capacity, answer)
        if result != -errno.ENOSPC:
            break
        capacity = 2 * max(capacity, answer.count)
    if result < 0:
        raise _error(-result, f"asking for the programs of {attach_type.name}", gone=result == -errno.ENOENT)
    return found, answer


def _is_gone(cgroup_fd: int, attach_type: AttachType) -> bool:
    """Whether an ENOENT is about the cgroup, and not about a program."""
    try:
        query(cgroup_fd, attach_type)
    except OSError as error:
        return error.errno == errno.ENODEV
    return False


def _is_attached(cgroup_fd: int, prog_fd: int, attach_type: AttachType) -> bool:
    try:
        return program_info(prog_fd).id in query(cgroup_fd, attach_type)
    except OSError:
        return False


def _error(number: int, doing: str, *, gone: bool) -> OSError:
    if gone:
        return OSError(errno.ENODEV, f"{doing}: the cgroup has been removed")
    return OSError(number, f"{doing}: {os.strerror(number)}")
