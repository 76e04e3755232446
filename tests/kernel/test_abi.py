"""cgfs.h, the public ABI: it stands alone in every compiler and language, and never changes, bit for bit."""

import re
import struct
import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).parents[2] / "native" / "include"

COMPILERS = [
    ("gcc", "c", "-std=c99"),
    ("gcc", "c", "-std=c11"),
    ("clang", "c", "-std=c99"),
    ("clang", "c", "-std=c11"),
    ("g++", "c++", "-std=c++11"),
    ("g++", "c++", "-std=c++20"),
    ("clang++", "c++", "-std=c++11"),
]

LAYOUT = """
#include <cgfs.h>
#include <stddef.h>
#include <stdio.h>

int main(void)
{
    struct cgfs_attach attach = { 3, CGFS_OVERRIDABLE | CGFS_NONRECURSIVE, { 0, 0 } };

    printf("%u %u %u ", (unsigned)CGFS_IOC_ATTACH, CGFS_OVERRIDABLE, CGFS_NONRECURSIVE);
    printf("%u %u ", (unsigned)sizeof(attach), (unsigned)sizeof(attach.reserved));
    printf("%u %u", (unsigned)offsetof(struct cgfs_attach, flags), (unsigned)offsetof(struct cgfs_attach, reserved));
    return 0;
}
"""


@pytest.mark.parametrize(("compiler", "language", "standard"), COMPILERS)
def test_the_layout_is_the_same_for_all(tmp_path: Path, compiler: str, language: str, standard: str) -> None:
    binary = tmp_path / "layout"
    warnings = ["-pedantic-errors", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        [compiler, standard, *warnings, f"-I{INCLUDE}", "-x", language, "-", "-o", str(binary)],
        input=LAYOUT,
        text=True,
        check=True,
        timeout=60,
    )
    printed = subprocess.run([str(binary)], capture_output=True, text=True, check=True, timeout=60).stdout
    size = struct.calcsize("=iIQQ")
    command = 1 << 30 | size << 16 | 0xC6 << 8 | 1  # _IOW(0xC6, 1, struct cgfs_attach)
    assert [int(number) for number in printed.split()] == [command, 1, 2, size, 16, 4, 8]


def test_each_errno_is_documented() -> None:
    text = (INCLUDE / "cgfs.h").read_text(encoding="ascii")
    documented = set(re.findall(r"^ \* (E[A-Z0-9]+)\t", text, re.MULTILINE))
    assert documented >= {
        *("EBADF", "EINVAL", "EPERM", "EBUSY", "EEXIST", "EOPNOTSUPP", "ENODEV", "ENOTTY", "E2BIG"),
    }
    assert "EACCES" in text


def test_everybody_may_copy_the_header() -> None:
    first = (INCLUDE / "cgfs.h").read_text(encoding="ascii").splitlines()[0]
    assert "SPDX-License-Identifier: GPL-2.0-or-later OR MIT" in first
