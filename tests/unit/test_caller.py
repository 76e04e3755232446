"""Credentials that are kept with an open file: what is unpacked is what was packed."""

import pytest

from cgfs.caller import Capability, Credentials

HIGHEST = 2**32 - 2


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(0, 0, 1, "init", frozenset({0}), frozenset(Capability)),
        Credentials(HIGHEST, HIGHEST, 2**22, "", frozenset(), frozenset()),
        Credentials(1000, 100, 0, "?", frozenset(range(1, 65537)), frozenset({Capability.NET_ADMIN})),
        Credentials(1000, 100, 7, "n\u00e4me \\xff", frozenset({HIGHEST}), frozenset({Capability.CHOWN})),
    ],
)
def test_what_is_unpacked_is_what_was_packed(credentials: Credentials) -> None:
    assert Credentials.unpack(credentials.pack()) == credentials
