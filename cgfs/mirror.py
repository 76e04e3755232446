"""The mirror of a cgroup2 directory, as Python sees it.

Owns the mount and the node ids of control files. The mirrored tree itself is served by C threads (native/mirror), which
take the interpreter's lock for control files only, and ask then (cgfs/edge.py). Must not decide what such a file says.

Sources: native/mirror/mirror.h; native/mirror/internal.h for the layout of node ids.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgfs._native import ffi, lib
from cgfs.edge import OPERATIONS, Control

ROOT_NODE = 1
"""The node id of the mirror's root, whatever the id of the cgroup that it shows."""

INDEX_BITS = 7
"""Of a row's index, in the node id of a control file."""
_INDEX_SHIFT = 56
_INDEX_MASK = (1 << INDEX_BITS) - 1
_DIRECTORY_MASK = (1 << _INDEX_SHIFT) - 1


def split_control_node(node: int) -> tuple[int, int]:
    """The directory's node id and the row's index of a control file's node id."""
    return node & _DIRECTORY_MASK, node >> _INDEX_SHIFT & _INDEX_MASK


@dataclass(frozen=True, slots=True)
class Untouched:
    """What a control file is where nothing is attached, and where no note says that anything ever was.

    *note_names* are, for each control file, the extended attributes of the directory that may say something about it:
    as many for each. *time_s* are the whole seconds of its time of modification (CLOCK_REALTIME); below them is the
    kernel's revision of what is attached.
    """

    content: bytes
    note_names: Sequence[Sequence[str]]
    mode: int
    time_s: int


_used_by_threads: list[Any] = []
"""Handles of what decides about control files: a thread that waits for a lock may outlive its mirror."""


class Mirror:
    """A mounted mirror. It answers once `start` was called, and has to be closed when its connection has ended."""

    def __init__(
        self,
        source: Path,
        mountpoint: Path,
        *,
        control_names: Sequence[str],
        control_attach_types: Sequence[int],
        untouched: Untouched,
        fsname: str,
        allow_other: bool = True,
        passthrough: bool = True,
        mount_flags: int = 0,
    ) -> None:
        """Mount the mirror of *source*, a directory of a cgroup2 mount, on *mountpoint*.

        *control_attach_types*: of each of *control_names*, what bpf(2) calls it. What is *untouched* the mirror answers
        by itself, and says again what it was told.

        Raises OSError: EINVAL if *source* is on no cgroup2 mount, EPROTONOSUPPORT if the kernel's FUSE is too old,
        and those of mount(2).
        """
        names = [ffi.new("char[]", os.fsencode(name)) for name in control_names]
        texts = [ffi.new("char[]", os.fsencode(text)) for text in (source, mountpoint, fsname)]
        name_table, type_table = ffi.new("const char *[]", names), ffi.new("uint32_t[]", list(control_attach_types))
        plain, _kept = _untouched(untouched)
        options = ffi.new("struct cgfs_mirror_options *")
        options.source, options.mountpoint, options.fsname = texts
        options.mount_flags = mount_flags
        options.allow_other = allow_other
        options.passthrough = passthrough
        options.control_names, options.n_control_names = name_table, len(names)
        options.control_attach_types = type_table
        options.untouched = plain
        opened = ffi.new("struct cgfs_mirror **")
        _check(lib.cgfs_mirror_open(options, opened), f"cannot mount a mirror of {source} on {mountpoint}")
        self._mirror = opened[0]
        self.mount_fd: int = lib.cgfs_mirror_mount_fd(self._mirror)
        """A directory of the cgroup2 mount, for open_by_handle_at. Borrowed."""
        self.device: int = lib.cgfs_mirror_device(self._mirror)
        """What st_dev is on it."""
        self.source_id: int = lib.cgfs_mirror_source_id(self._mirror)
        """The id of the cgroup that ROOT_NODE stands for."""

    def start(self, control: Control) -> None:
        """Answer requests from now on; *control* decides about control files.

        Raises OSError: EAGAIN or ENOMEM if no thread can be had.
        """
        handle = ffi.new_handle(control)
        _used_by_threads.append(handle)
        _check(lib.cgfs_mirror_start(self._mirror, OPERATIONS, handle), "cannot start to serve the mirror")

    def let_go(self) -> None:
        """Before the mirror is unmounted: keep it no longer.

        The mirror keeps itself, until it notices that it was unmounted, to raise inotify events for what others do on
        cgroup2. From here on there are none. Waits for the one at hand.
        """
        lib.cgfs_mirror_let_go(self._mirror)

    def close(self) -> None:
        """Wait for the connection to end, by umount or abort, then free everything. One that was never started has
        no connection to end. May be called again, and does nothing then.
        """
        mirror, self._mirror = self._mirror, ffi.NULL
        if mirror != ffi.NULL:
            lib.cgfs_mirror_close(mirror)

    def control_changed(self, node: int) -> None:
        """Tell whoever polls or watches the control file *node* that its content has changed."""
        lib.cgfs_mirror_control_changed(self._mirror, node)


def _untouched(untouched: Untouched) -> tuple[Any, list[Any]]:
    """As C has it, and what must live as long as it."""
    notes = [ffi.new("char[]", name.encode()) for names in untouched.note_names for name in names]
    kept = [ffi.new("char[]", untouched.content), ffi.new("const char *[]", notes), *notes]
    plain = ffi.new("struct cgfs_untouched *")
    plain.content, plain.note_names = kept[:2]
    plain.n_notes = len(untouched.note_names[0])
    plain.mode, plain.time_s = untouched.mode, untouched.time_s
    return plain, kept


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, f"{what}: {_WORDS.get(-result) or os.strerror(-result)}")


_NO_FUSE = "this kernel has no FUSE, or there is no /dev/fuse: `modprobe fuse`"
_WORDS = {
    errno.EPROTONOSUPPORT: "the kernel's FUSE is too old, Linux 5.17 or later is right",
    errno.EMFILE: "too few descriptors: raise RLIMIT_NOFILE (`ulimit -n`) to 64 or more",
    errno.ENOENT: _NO_FUSE,  # source and mount point have been looked for before
    errno.ENXIO: _NO_FUSE,
    errno.ENODEV: _NO_FUSE,
}
"""What an errno means here, where strerror(3) does not say it."""
