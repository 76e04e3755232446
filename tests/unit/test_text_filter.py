"""Which texts are filters for which control files, and that a text always gives the same program."""

import errno
import hashlib

import pytest

from cgfs import text_filter
from cgfs.control import CONTROL_FILES, ControlFile, by_hook

EGRESS, SOCKET_CREATE = by_hook("egress"), by_hook("socket-create")
ACCEPT_ALL = "cbpf:1,6 0 0 1"

FITTING = {
    "net.ingress_filter": [ACCEPT_ALL, "cbpf:1,6 0 0 1,", "cbpf:4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"],
    "net.egress_filter": [ACCEPT_ALL],
    "net.socket_create_filter": ["families:", "families:inet", "families:inet6,inet"],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file in CONTROL_FILES for text in FITTING[file.name]])
def test_a_filter_keeps_the_text_that_was_written(file: ControlFile, text: str) -> None:
    assert text_filter.parse_text(text, file).text == text


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        (EGRESS, "families:inet", r"for net\.socket_create_filter; net\.egress_filter takes cbpf:"),
        (
            SOCKET_CREATE,
            ACCEPT_ALL,
            r"for net\.ingress_filter and net\.egress_filter; net\.socket_create_filter takes families:",
        ),
        (EGRESS, "cbpf", "no text filter: there are families: and cbpf:"),
        (EGRESS, "nonsense:1", "nonsense: is no text filter"),
        (EGRESS, "", "no text filter"),
        (EGRESS, ":", "no text filter"),
        (EGRESS, "CBPF:1,6 0 0 1", "CBPF: is no text filter"),
        (EGRESS, " cbpf:1,6 0 0 1", "no text filter"),
        (EGRESS, "cbpf:", "number of instructions"),
        (EGRESS, "cbpf(nonrecursive):1,6 0 0 1", "no text filter"),
        (SOCKET_CREATE, "families:unix", "inet and inet6"),
        (EGRESS, "x" * 65536, "no text filter"),
    ],
)
def test_what_is_no_filter_of_a_file_is_refused_with_the_reason(file: ControlFile, text: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason) as caught:
        text_filter.parse_text(text, file)
    assert caught.value.errno == errno.EINVAL
    assert len(str(caught.value)) < 250


def test_64_kib_are_the_most() -> None:
    longest = ",".join(["cbpf:4096", "0 0 0 12345678", *["0 0 0 123456789"] * 4094, "6 0 0 1"])
    assert len(longest) == 65536
    assert text_filter.parse_text(longest, EGRESS).text == longest
    with pytest.raises(OSError, match="65536 is the most") as caught:
        text_filter.parse_text(longest + ",", EGRESS)
    assert caught.value.errno == errno.E2BIG


GOLDEN = {
    ("families:", None): "bd36dbfdbd384757",
    ("families:inet,inet6", None): "adbb0c3c627731c2",
    ("families:inet6", 0x1122334455667788): "5cc8ec42690cbabf",
    (ACCEPT_ALL, None): "6dbd0ab4eb525bd8",
    ("cbpf:4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0", 4711): "6dbd2e347478a39a",
}


@pytest.mark.parametrize(("text", "only_cgroup_id"), GOLDEN)
def test_a_text_always_gives_the_same_instructions(text: str, only_cgroup_id: int | None) -> None:
    """A program loaded before an upgrade is known by its tag: with other instructions its text would be lost."""
    instructions = text_filter.assemble(text_filter.parse(text), only_cgroup_id).instructions
    assert hashlib.sha256(instructions).hexdigest()[:16] == GOLDEN[text, only_cgroup_id]


def test_a_filter_is_described_in_words() -> None:
    assert text_filter.describe("families:inet")[0] == "sockets of inet (IPv4) may be created"
    words = text_filter.describe("cbpf:3,48 0 0 9,21 0 0 6,6 0 0 1")
    assert "(000) ldb      [9]" in words
    assert "(002) ret      #1" in words
    with pytest.raises(OSError, match="no text filter"):
        text_filter.describe("bpf:0123456789abcdef")
