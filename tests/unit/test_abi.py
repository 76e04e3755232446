"""The public ABI in Python, beside native/include/cgfs.h."""

import errno
import re
import struct
from pathlib import Path

import pytest

from cgfs.abi import IOC_ATTACH, Attach
from cgfs.control import Mode

HEADER = (Path(__file__).parents[2] / "native" / "include" / "cgfs.h").read_text(encoding="ascii")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("prog_fd", [0, 3, -1, 2**31 - 1])
def test_what_is_packed_is_unpacked(prog_fd: int, mode: Mode) -> None:
    assert Attach.unpack(Attach(prog_fd, mode).pack()) == Attach(prog_fd, mode)


def test_the_flags_are_those_of_the_header() -> None:
    bits = {name: int(bit) for name, bit in re.findall(r"#define CGFS_(\w+) \(1u << (\d+)\)", HEADER)}
    assert bits == {"OVERRIDABLE": 0, "NONRECURSIVE": 1}
    for name, bit in bits.items():
        assert Attach(3, Mode[name]).pack() == struct.pack("=iIQQ", 3, 1 << bit, 0, 0)
    assert Attach(3, Mode.DEFAULT).pack() == struct.pack("=iIQQ", 3, 0, 0, 0)


def test_the_command_is_that_of_the_header() -> None:
    assert "#define CGFS_IOC_MAGIC 0xC6" in HEADER
    assert "#define CGFS_IOC_ATTACH _IOW(CGFS_IOC_MAGIC, 1, struct cgfs_attach)" in HEADER
    assert IOC_ATTACH == 0x4018C601


@pytest.mark.parametrize(
    "fields", [(3, 3, 0, 0), (3, 4, 0, 0), (3, 1 << 31, 0, 0), (3, 0, 1, 0), (3, 0, 0, 1), (3, 1, 0, 1 << 63)]
)
def test_what_is_reserved_is_einval(fields: tuple[int, int, int, int]) -> None:
    with pytest.raises(OSError) as caught:
        Attach.unpack(struct.pack("=iIQQ", *fields))
    assert caught.value.errno == errno.EINVAL
