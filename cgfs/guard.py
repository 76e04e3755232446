"""Nonrecursive filters: a guard program that runs the user's program for one cgroup's own members only.

The guard compares the cgroup of the packet's socket, or of who creates a socket, with its own, and tail-calls the
user's program where they are the same; all else passes. The kernel empties a program array that has neither a
descriptor nor a pin, also while a program uses it: so the array is pinned before the guard is attached, and a tail call
that fails denies. A pin is named by cgroup id, hook and the guard's program id, root's, and is removed with the guard:
by whoever detaches it, or by sweep() where the cgroup went, or somebody else detached it.

Owns the guard's instructions and the pins. Must not attach anything: cgfs/filters.py does.
Sources: bpf_fd_array_map_clear() and bpf_prog_map_compatible() in kernel/bpf; bpf-helpers(7), bpf_tail_call.
"""

import contextlib
import errno
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from cgfs import bpffs
from cgfs.bpf import AttachType, Map, MapType, Program, ProgramInfo, check_hook
from cgfs.control import CONTROL_FILES, ControlFile
from cgfs.ebpf import Alu, Assembler, Code, Helper, Jump, Label, Reg

NAME = "cgfs_nonrecurse"
_ARRAY = "cgfs_guarded"
_PINS = "guards"
_KEY = struct.pack("=I", 0)
_ID = struct.Struct("=I")
_CGROUP_STORAGE = (MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE)

_OWN_CGROUP_ID = {
    AttachType.CGROUP_INET_INGRESS: Helper.SKB_CGROUP_ID,
    AttachType.CGROUP_INET_EGRESS: Helper.SKB_CGROUP_ID,
    AttachType.CGROUP_INET_SOCK_CREATE: Helper.GET_CURRENT_CGROUP_ID,
}
"""What says, for a hook, whose packet or socket it judges: the cgroup for which the hook's programs are run."""


@lru_cache(maxsize=64)
def assemble(own_cgroup_id: Helper, cgroup_id: int) -> Code:
    """The guard's instructions, always the same for the same cgroup."""
    asm, elsewhere = Assembler(), Label()
    asm.copy(Reg.R6, Reg.R1)
    asm.call(own_cgroup_id)
    asm.constant64(Reg.R1, cgroup_id)
    asm.jump_if64(Jump.NE, Reg.R0, Reg.R1, elsewhere)
    asm.copy(Reg.R1, Reg.R6)
    asm.map(Reg.R2, _ARRAY)
    asm.alu32(Alu.MOV, Reg.R3, 0)
    asm.call(Helper.TAIL_CALL)
    asm.alu32(Alu.MOV, Reg.R0, 0)  # only a tail call that has failed comes back
    asm.exit()
    asm.place(elsewhere)
    asm.alu32(Alu.MOV, Reg.R0, 1)
    asm.exit()
    return asm.finish()


@contextlib.contextmanager
def guarding(inside: Program, file: ControlFile, cgroup_id: int) -> Iterator[Program]:
    """A guard of the program *inside* (borrowed), to be attached in the `with` block; its array is pinned. The pin
    stays, unless the block raises.

    Raises OSError: EINVAL if the kernel refuses *inside* for this hook, EOPNOTSUPP if it cannot be tail-called, or no
    guard could tell at this hook for which cgroup it runs.
    """
    check_hook(inside.fd, file.attach_type)
    own_cgroup_id = _OWN_CGROUP_ID.get(file.attach_type)
    if own_cgroup_id is None:
        raise OSError(errno.EOPNOTSUPP, f"a filter in {file.name} cannot be nonrecursive")
    if any(_map_type(map_id) in _CGROUP_STORAGE for map_id in inside.info().map_ids):
        raise OSError(
            errno.EOPNOTSUPP, "a program with cgroup storage cannot be nonrecursive: it cannot be tail-called"
        )
    array, guard = _load(inside, file, assemble(own_cgroup_id, cgroup_id))
    with array, guard:
        pin = _directory() / _pin_name(cgroup_id, file, guard.info().id)
        array.pin(pin)
        try:
            yield guard
        except BaseException:
            pin.unlink(missing_ok=True)
            raise


def inside_of(guard: Program, file: ControlFile, cgroup_id: int) -> ProgramInfo | None:
    """The program that *guard* (borrowed) runs; None if it is no guard of this cgroup, or has nothing to run."""
    info = guard.info()
    own_cgroup_id = _OWN_CGROUP_ID.get(file.attach_type)
    if own_cgroup_id is None or info.tag not in assemble(own_cgroup_id, cgroup_id).tags():
        return None
    for map_id in info.map_ids:
        with Map.by_id(map_id) as array:
            value = array.lookup(_KEY) if array.info().type == MapType.PROG_ARRAY else None
        if value is not None:
            with contextlib.suppress(FileNotFoundError), Program.by_id(_ID.unpack(value)[0]) as program:
                return program.info()
    return None


def unpin(cgroup_id: int, file: ControlFile, guard_id: int) -> None:
    """The guard is not attached any more: let its array go."""
    (_directory() / _pin_name(cgroup_id, file, guard_id)).unlink(missing_ok=True)


def sweep() -> None:
    """Remove the pins of guards that are no more. A guard lives while it is attached, while a socket of a removed
    cgroup still goes by it, and while a daemon that is about to attach it has it open.
    """
    directory = bpffs.MOUNTPOINT / _PINS
    for pin in directory.iterdir() if directory.is_dir() else ():
        guard_id = pin.name.rpartition("-")[2]
        if not (guard_id.isdecimal() and _is_guard_of(int(guard_id), pin)):
            pin.unlink(missing_ok=True)


def _is_guard_of(guard_id: int, pin: Path) -> bool:
    """Whether that program is there and has the array that is pinned: a program's id may be used again."""
    try:
        with Program.by_id(guard_id) as guard, Map.pinned(pin) as array:
            return array.info().id in guard.info().map_ids
    except FileNotFoundError:
        return False


def _load(inside: Program, file: ControlFile, code: Code) -> tuple[Map, Program]:
    """A guard with *inside* in its array. The array takes its kind from the first program that uses it: each try has
    one of its own.

    The kernel demands that a program and the one it tail-calls were loaded for the same hook (since Linux 6.18), and
    does not say which hook that was. Packet filters may be loaded for either, and attached to both unless they return
    more than yes and no; a guard does not.
    """
    for loaded_for in (other.attach_type for other in CONTROL_FILES if other.prog_type == file.prog_type):
        with contextlib.ExitStack() as stack:
            array = stack.enter_context(Map.create(MapType.PROG_ARRAY, 4, 4, 1, _ARRAY))
            insns = code.with_maps({_ARRAY: array.fd})
            guard = stack.enter_context(Program.load(file.prog_type, insns, name=NAME, expected_attach_type=loaded_for))
            try:
                array.update(_KEY, _ID.pack(inside.fd))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            else:
                stack.pop_all()
                return array, guard
    raise OSError(errno.EOPNOTSUPP, "the kernel does not let the program be tail-called, so it cannot be nonrecursive")


def _map_type(map_id: int) -> MapType:
    with Map.by_id(map_id) as map_:
        return map_.info().type


def _directory() -> Path:
    return bpffs.directory(_PINS)


def _pin_name(cgroup_id: int, file: ControlFile, guard_id: int) -> str:
    return f"{cgroup_id}-{file.hook}-{guard_id}"  # bpffs keeps names with dots for itself
