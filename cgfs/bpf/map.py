"""BPF maps as objects of the kernel: create, find, describe, read, write, freeze and pin them.

Source: bpf(2), include/uapi/linux/bpf.h.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cgfs._native import ffi, lib
from cgfs.bpf.fdinfo import fdinfo
from cgfs.bpf.kernel import MapType, check_kind
from cgfs.descriptor import Descriptor
from cgfs.errors import check

_PLAIN = frozenset({MapType.HASH, MapType.ARRAY, MapType.PROG_ARRAY})
"""The types whose elements the kernel copies by the sizes of the map's info; of per-CPU maps it would copy
more.
"""

_PER_CPU = frozenset({MapType.PERCPU_ARRAY})
_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")


@dataclass(frozen=True, slots=True)
class MapInfo:
    id: int
    type: MapType
    name: str
    key_size: int
    value_size: int
    max_entries: int
    btf_id: int


class Map(Descriptor):
    """A map, held by a descriptor."""

    __slots__ = ()

    @classmethod
    def create(
        cls,
        map_type: MapType,
        key_size: int,
        value_size: int,
        max_entries: int,
        name: str,
        *,
        flags: int = 0,
    ) -> Self:
        """*flags*: BPF_F_* of linux/bpf.h. Raises OSError: EINVAL or E2BIG for sizes that the kernel does not take."""
        result = lib.cgfs_map_create(map_type, key_size, value_size, max_entries, flags, name.encode())
        return cls(check(result, f"creating the BPF map {name}"))

    @classmethod
    def by_id(cls, map_id: int) -> Self:
        """Open the map with that id. Raises OSError ENOENT if there is none."""
        return cls(check(lib.cgfs_open_id(lib.CGFS_MAP, map_id), f"opening the BPF map with id {map_id}"))

    @classmethod
    def pinned(cls, path: Path) -> Self:
        """Open the map pinned at *path*. Raises OSError: EINVAL if something else is pinned there."""
        descriptor = cls(check(lib.cgfs_open_pinned(os.fsencode(path)), f"opening the BPF map pinned at {path}"))
        try:
            check_kind(descriptor.fd, lib.CGFS_MAP, f"what is pinned at {path} is no BPF map")
        except OSError:
            descriptor.close()
            raise
        return descriptor

    def info(self) -> MapInfo:
        info = ffi.new("struct cgfs_map_info *")
        check(lib.cgfs_map_info(self.fd, info), "asking for a BPF map")
        return MapInfo(
            id=info.id,
            type=MapType(info.type),
            name=ffi.string(info.name).decode(errors="replace"),
            key_size=info.key_size,
            value_size=info.value_size,
            max_entries=info.max_entries,
            btf_id=info.btf_id,
        )

    def lookup(self, key: bytes) -> bytes | None:
        """The value of *key*, None if there is none. In a PROG_ARRAY that is the program's id."""
        info = self._info_for(key, _PLAIN)
        value = ffi.new("uint8_t[]", info.value_size)
        result = lib.cgfs_map_lookup(self.fd, ffi.from_buffer(key), value)
        if result == -errno.ENOENT:
            return None
        check(result, f"reading the BPF map {info.name}")
        return bytes(ffi.buffer(value))

    def lookup_per_cpu(self, key: bytes) -> tuple[bytes, ...]:
        """The value of *key* on each possible CPU, in a PERCPU_ARRAY. Raises OSError: ENOENT if there is none."""
        info = self._info_for(key, _PER_CPU)
        stride = -(-info.value_size // 8) * 8
        values = ffi.new("uint8_t[]", stride * _number_of_possible_cpus())
        check(lib.cgfs_map_lookup(self.fd, ffi.from_buffer(key), values), f"reading the BPF map {info.name}")
        data = bytes(ffi.buffer(values))
        return tuple(data[start : start + info.value_size] for start in range(0, len(data), stride))

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of *key*. Raises OSError: EPERM if the map is frozen, E2BIG if it is full."""
        info = self._info_for(key, _PLAIN)
        if len(value) != info.value_size:
            raise OSError(
                errno.EINVAL,
                f"a value of the BPF map {info.name} has {info.value_size} bytes, not {len(value)}",
            )
        result = lib.cgfs_map_update(self.fd, ffi.from_buffer(key), ffi.from_buffer(value), 0)
        check(result, f"writing to the BPF map {info.name}")

    def freeze(self) -> None:
        """From now on no process can change the map's content, for good."""
        check(lib.cgfs_map_freeze(self.fd), "freezing a BPF map")

    def pin(self, path: Path) -> None:
        """Pin the map at *path*, mode 0600. Raises OSError: EEXIST, EPERM where no bpf file system is."""
        check(lib.cgfs_pin(self.fd, os.fsencode(path)), f"pinning a BPF map at {path}")

    def _info_for(self, key: bytes, types: frozenset[MapType]) -> MapInfo:
        info = self.info()
        if info.type not in types:
            raise OSError(errno.EINVAL, f"the BPF map {info.name} is of type {info.type.name}, which is not read so")
        if len(key) != info.key_size:
            raise OSError(errno.EINVAL, f"a key of the BPF map {info.name} has {info.key_size} bytes, not {len(key)}")
        return info

    def is_frozen(self) -> bool:
        """Whether its content can change no more."""
        return fdinfo(self.fd).get("frozen") == "1"

    def memory(self) -> dict[str, int]:
        """How many bytes of the kernel's it takes, or would if it were full, and its BTF, which others may have, too;
        without what its values refer to.
        """
        info = self.info()
        values = _number_of_possible_cpus() if info.type in _PER_CPU | {MapType.PERCPU_HASH} else 1
        own = max(int(fdinfo(self.fd)["memlock"]), info.max_entries * (info.key_size + info.value_size * values))
        return {f"map {info.id}": own} | btf_memory(info.btf_id)


def btf_memory(btf_id: int) -> dict[str, int]:
    """The bytes of the BTF with that id; none, if that is 0."""
    return {f"btf {btf_id}": check(lib.cgfs_btf_size(btf_id), f"asking for the BTF with id {btf_id}")} if btf_id else {}


def _number_of_possible_cpus() -> int:
    """As many values the kernel copies for one key of a per-CPU map (bpf_percpu_array_copy())."""
    ranges = _POSSIBLE_CPUS.read_text(encoding="ascii").strip().split(",")
    bounds = [[int(cpu) for cpu in range_.split("-")] for range_ in ranges]
    return sum(bound[-1] - bound[0] + 1 for bound in bounds)
