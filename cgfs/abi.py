"""The public ABI of the ioctl, native/include/cgfs.h, in Python: its numbers and their layout, and nothing else."""

import errno
import struct
from dataclasses import dataclass

from cgfs._native import lib
from cgfs.control import Mode

_ATTACH = struct.Struct("=iIQQ")
"""struct cgfs_attach: prog_fd, flags, reserved."""

IOC_ATTACH = lib.CGFS_IOC_ATTACH

_FLAGS = {
    Mode.DEFAULT: 0,
    Mode.OVERRIDABLE: lib.CGFS_OVERRIDABLE,
    Mode.NONRECURSIVE: lib.CGFS_NONRECURSIVE,
}
_MODES = {flags: mode for mode, flags in _FLAGS.items()}


@dataclass(frozen=True, slots=True)
class Attach:
    """The argument of CGFS_IOC_ATTACH: a descriptor of the calling thread, and how its program is attached."""

    prog_fd: int
    mode: Mode

    def pack(self) -> bytes:
        return _ATTACH.pack(self.prog_fd, _FLAGS[self.mode], 0, 0)

    @classmethod
    def unpack(cls, data: bytes) -> "Attach":
        """Raises OSError: EINVAL for unknown flags, both flags, or reserved fields that are not zero."""
        prog_fd, flags, *reserved = _ATTACH.unpack(data)
        mode = _MODES.get(flags)
        if mode is None:
            raise OSError(errno.EINVAL, f"flags {flags:#x}: 0, CGFS_OVERRIDABLE or CGFS_NONRECURSIVE is right")
        if any(reserved):
            raise OSError(errno.EINVAL, "the reserved fields have to be zero")
        return cls(prog_fd, mode)
