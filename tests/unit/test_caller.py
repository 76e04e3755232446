"""Credentials that are kept with an open file: what is unpacked is what was packed."""

import struct

import pytest

from cgfs.caller import Capability, Credentials

HIGHEST = 2**32 - 2


@pytest.mark.parametrize(
    ("credentials", "groups"),
    [
        (Credentials(0, 0, 1, "init", 0, frozenset(Capability), b""), {0}),
        (Credentials(HIGHEST, HIGHEST, 2**22, "", 2**64 - 1, frozenset(), b""), {HIGHEST}),
        (
            Credentials(7, 8, 0, "?", 9, frozenset({Capability.NET_ADMIN}), struct.pack("=II", 9, HIGHEST)),
            {8, 9, HIGHEST},
        ),
        (Credentials(7, 8, 6, "n\u00e4me \\xff", 1 << 63 | 5, frozenset({Capability.CHOWN}), bytes(4 * 65536)), {8, 0}),
    ],
    ids=["root", "highest", "groups", "many groups"],
)
def test_what_is_unpacked_is_what_was_packed(credentials: Credentials, groups: set[int]) -> None:
    assert Credentials.unpack(credentials.pack()) == credentials
    assert credentials.groups == groups
