"""Credentials: what C says of a thread, as Python has it."""

import struct

import pytest

from cgfs._native import ffi
from cgfs.caller import Capability, Credentials

HIGHEST = 2**32 - 2


@pytest.mark.parametrize(
    ("fields", "credentials", "groups"),
    [
        (
            {"tgid": 1, "comm": b"init", "capabilities": 2**64 - 1, "groups": 0},
            Credentials(0, 0, 1, "init", frozenset(Capability), b""),
            {0},
        ),
        (
            {"uid": HIGHEST, "gid": HIGHEST, "tgid": 2**22, "comm": b"", "groups": 0},
            Credentials(HIGHEST, HIGHEST, 2**22, "", frozenset(), b""),
            {HIGHEST},
        ),
        (
            {"uid": 7, "gid": 8, "capabilities": 1 << 12, "n_groups": 2, "groups": (9, HIGHEST)},
            Credentials(7, 8, 0, "?", frozenset({Capability.NET_ADMIN}), struct.pack("=II", 9, HIGHEST)),
            {8, 9, HIGHEST},
        ),
        (
            {"uid": 7, "gid": 8, "tgid": 6, "comm": b"n\xc3\xa4me \xff\n", "n_groups": 65536, "groups": 65536},
            Credentials(7, 8, 6, "n\u00e4me \\xff\\n", frozenset(), bytes(4 * 65536)),
            {8, 0},
        ),
    ],
    ids=["root", "highest", "groups", "many groups"],
)
def test_credentials_are_those_that_c_has_found(
    fields: dict[str, object], credentials: Credentials, groups: set[int]
) -> None:
    assert Credentials.of(ffi.new("struct cgfs_credentials *", fields)) == credentials
    assert credentials.groups == groups
