"""The grammar of `families:`."""

import errno

import pytest

from cgfs import families


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("inet", ("inet",)), ("inet6", ("inet6",)), ("inet6,inet", ("inet6", "inet"))],
)
def test_a_list_is_read_in_its_order(text: str, names: tuple[str, ...]) -> None:
    assert families.parse(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "unix",
        "inet,unix",
        "INET",
        " inet",
        "inet ",
        "inet, inet6",
        "inet,",
        ",inet",
        ",",
        "inet,,inet6",
        "inet\n",
        "inet;inet6",
        "inet4",
        "2",
        "all",
        "none",
        "inet,inet6,inet7",
        "x" * 60000,
        "inet," * 10000,
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(OSError, match="inet and inet6") as caught:
        families.parse(text)
    assert caught.value.errno == errno.EINVAL
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("text", ["inet,inet", "inet6,inet6"])
def test_a_family_named_twice_is_refused(text: str) -> None:
    with pytest.raises(OSError, match="twice") as caught:
        families.parse(text)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", "creating a socket of inet (IPv4) and inet6 (IPv6) fails with EPERM"),
        ("inet6", "sockets of inet6 (IPv6) may be created"),
        ("inet,inet6", "sockets of inet (IPv4) and inet6 (IPv6) may be created"),
    ],
)
def test_the_words_say_what_passes(text: str, first: str) -> None:
    words = families.describe(families.parse(text))
    assert words[0] == first
