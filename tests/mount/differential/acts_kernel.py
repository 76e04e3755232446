"""Acts that name a cgroup to the kernel by a descriptor or a handle: what FUSE cannot stand in for."""

import contextlib
import ctypes
import os
import struct

from tests.mount.differential.acts import Descriptor, Scene, act, attempt
from tests.support.programs import Hook, query
from tests.support.syscalls import syscall

_SYS_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000


@act("statfs magic")
def statfs_magic(scene: Scene) -> object:
    """f_type: the first word of struct statfs."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)
    assert libc.statfs(os.fsencode(scene.a), buffer) == 0
    return hex(struct.unpack_from("=q", buffer.raw)[0])


@act("handle by name_to_handle_at")
def handle(scene: Scene) -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount_id = ctypes.c_int()
    result = libc.name_to_handle_at(-100, os.fsencode(scene.a), buffer, ctypes.byref(mount_id), 0)
    if result < 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    size, kind = struct.unpack_from("=Ii", buffer.raw)
    return size, hex(kind)


@act("clone into a cgroup by descriptor")
def clone_into(scene: Scene) -> object:
    with Descriptor(scene.b, os.O_PATH | os.O_DIRECTORY) as fd:
        arguments = struct.pack("=11Q", _CLONE_INTO_CGROUP, 0, 0, 0, 17, 0, 0, 0, 0, 0, fd)
        buffer = ctypes.create_string_buffer(arguments, len(arguments))
        child = syscall(_SYS_CLONE3, ctypes.addressof(buffer), len(arguments))
        if child == 0:
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        return "cloned"


@act("query the programs of a cgroup by descriptor")
def query_programs(scene: Scene) -> object:
    with Descriptor(scene.b, os.O_RDONLY | os.O_DIRECTORY) as fd:
        return attempt(lambda: query(fd, Hook.EGRESS).program_ids)


@act("the type of the mount")
def mount_type(scene: Scene) -> object:
    """The file system type that /proc/self/mountinfo gives for the directory's device."""
    device = os.stat(scene.a).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return next(line.partition(" - ")[2].split()[0] for line in lines if line.split()[2] == number)
