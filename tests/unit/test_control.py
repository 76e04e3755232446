"""The table of control files, and the grammar both ways."""

import errno

import pytest

from cgfs.control import (
    CONTROL_FILES,
    LARGEST_COMMAND,
    Command,
    Mode,
    NoneCommand,
    SetProgram,
    SetText,
    by_hook,
    by_name,
    content,
    parse,
    program_line,
    text_line,
)

TAG = "0123456789abcdef"


def test_the_table_has_the_three_files_of_the_proposal() -> None:
    assert [file.name for file in CONTROL_FILES] == [
        "net.ingress_filter",
        "net.egress_filter",
        "net.socket_create_filter",
    ]


@pytest.mark.parametrize("file", CONTROL_FILES)
def test_a_file_is_found_by_its_name_and_by_its_hook(file: object) -> None:
    for each in CONTROL_FILES:
        assert by_name(each.name) is by_hook(each.name) is by_hook(each.hook) is each


def test_an_unknown_file_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"forward.*ingress \(net.ingress_filter\)"):
        by_hook("forward")
    with pytest.raises(FileNotFoundError, match=r"ingress is no control file.*net.ingress_filter"):
        by_name("ingress")


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (b"none", NoneCommand()),
        (b"none\n", NoneCommand()),
        (b"bpf:0123456789abcdef", SetProgram(TAG, Mode.DEFAULT)),
        (b"bpf:0123456789abcdef\n", SetProgram(TAG, Mode.DEFAULT)),
        (b"bpf(overridable):0123456789abcdef\n", SetProgram(TAG, Mode.OVERRIDABLE)),
        (b"bpf(nonrecursive):0123456789abcdef\n", SetProgram(TAG, Mode.NONRECURSIVE)),
        (b"families:inet,inet6\n", SetText("families:inet,inet6", Mode.DEFAULT)),
        (b"families:", SetText("families:", Mode.DEFAULT)),
        (b"families(nonrecursive):inet\n", SetText("families:inet", Mode.NONRECURSIVE)),
        (b"cbpf(overridable):1,6 0 0 1", SetText("cbpf:1,6 0 0 1", Mode.OVERRIDABLE)),
    ],
)
def test_a_command_is_understood_with_and_without_its_newline(data: bytes, command: Command) -> None:
    assert parse(data) == command


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b" none",
        b"none ",
        b"none\n\n",
        b"none\nnone\n",
        b"\nnone",
        b"none\r\n",
        b"none\0",
        b"none\n\0",
        b"\0none",
        b"\0" * 16,
        b"NONE",
        b"non",
        b"nonexyz",
        b"garbage",
        b"bpf",
        b"bpf:",
        b"bpf:0123456789abcde",
        b"bpf:0123456789abcdef0",
        b"bpf:0123456789ABCDEF",
        b"bpf:0123456789abcdeg",
        b"bpf: 0123456789abcdef",
        b"bpf:0123456789abcdef ",
        b"bpf:0123456789abcdef\nnone\n",
        b"bpf:0123456789abcdef\nbpf:0123456789abcdef\n",
        b"bpf():0123456789abcdef",
        b"bpf(default):0123456789abcdef",
        b"bpf(Overridable):0123456789abcdef",
        b"bpf(overridable,nonrecursive):0123456789abcdef",
        b"bpf(overridable)(nonrecursive):0123456789abcdef",
        b"bpf (overridable):0123456789abcdef",
        b"bpf(overridable) :0123456789abcdef",
        b"bpf(overridable):",
        b"none(overridable)",
        b"none:",
        b"none(nonrecursive):",
        b":families",
        b"families:inet\tinet6",
        b"families:inet\xff",
        b"families:inet\xc3\xa9",
        b"families:inet\nnone\n",
        b"(overridable):x",
        b"\xff\xfe",
    ],
)
def test_anything_else_is_einval(data: bytes) -> None:
    with pytest.raises(OSError) as caught:
        parse(data)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.strerror
    assert "\n" not in caught.value.strerror


def test_what_is_too_long_is_e2big_and_not_read() -> None:
    longest = b"none\n" + b"\0" * (LARGEST_COMMAND - 5)
    with pytest.raises(OSError) as caught:
        parse(longest)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError) as caught:
        parse(longest + b"\0")
    assert caught.value.errno == errno.E2BIG


def test_a_program_is_shown_with_its_mode() -> None:
    assert program_line(TAG, Mode.DEFAULT) == f"bpf:{TAG}"
    assert program_line(TAG, Mode.OVERRIDABLE) == f"bpf(overridable):{TAG}"
    assert program_line(TAG, Mode.NONRECURSIVE) == f"bpf(nonrecursive):{TAG}"


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("text", [f"bpf:{TAG}", "families:inet,inet6", "families:", "cbpf:1,6 0 0 65535"])
def test_what_is_shown_can_be_written_back(text: str, mode: Mode) -> None:
    command = parse(content([text_line(text, mode)]))
    assert command == (SetProgram(TAG, mode) if text.startswith("bpf:") else SetText(text, mode))


def test_content_is_a_line_each_or_none() -> None:
    assert content([]) == b"none\n"
    assert content(["bpf:a", "bpf:b"]) == b"bpf:a\nbpf:b\n"
    assert parse(content([])) == NoneCommand()


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("egress", "net.egress_filter"),
        ("cgroup_inet_egress", "net.egress_filter"),
        ("net.egress_filter", "net.egress_filter"),
        ("socket-create", "net.socket_create_filter"),
        ("sock_create", "net.socket_create_filter"),
        ("cgroup_inet_sock_create", "net.socket_create_filter"),
    ],
)
def test_a_hook_has_the_names_that_people_and_bpftool_give_it(word: str, name: str) -> None:
    assert by_hook(word).name == name
