"""ELF objects as clang makes them: what is in one, and which program of it is loaded."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from cgfs import bpf
from cgfs.bpf import AttachType, Map, ProgType, VerifierError
from tests.support.programs import fdinfo_tag, verdict

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
"""

TWO = (
    HEAD
    + """
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
    __uint(pinning, LIBBPF_PIN_BY_NAME);
} counter SEC(".maps");

SEC("cgroup_skb/ingress") int counts(struct __sk_buff *skb)
{
    __u32 key = 0;
    __u64 *count = bpf_map_lookup_elem(&counter, &key);

    if (count)
        __sync_fetch_and_add(count, 1);
    return 1;
}
SEC("cgroup/sock_create") int refuses(struct bpf_sock *sock) { return 0; }
"""
)
PLAIN = HEAD + 'SEC("filter") int drops(struct __sk_buff *skb) { return 0; }'
BAD = HEAD + 'SEC("cgroup_skb/egress") int reads_far(struct __sk_buff *skb) { return *(int *)((char *)skb + 4096); }'
SAME_SECTION = (
    HEAD
    + 'SEC("cgroup/skb") int first(struct __sk_buff *skb) { return 1; }'
    + 'SEC("cgroup/skb") int second(struct __sk_buff *skb) { return 0; }'
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sources above, compiled, by their name in small letters."""
    directory = tmp_path_factory.mktemp("objects")
    sources = {"two": TWO, "plain": PLAIN, "bad": BAD, "same_section": SAME_SECTION}
    return {name: compiled(directory / f"{name}.o", source) for name, source in sources.items()}


def compiled(path: Path, source: str) -> Path:
    headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    command = ["clang", "-g", "-O2", "-target", "bpf", headers, "-x", "c", "-c", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True, timeout=60)
    return path


def test_the_programs_of_an_object_are_listed(objects: dict[str, Path]) -> None:
    counts, refuses = bpf.programs_of_object(objects["two"].read_bytes())
    assert (counts.section, counts.name, counts.prog_type) == ("cgroup_skb/ingress", "counts", ProgType.CGROUP_SKB)
    assert (refuses.section, refuses.name, refuses.prog_type) == ("cgroup/sock_create", "refuses", ProgType.CGROUP_SOCK)
    assert refuses.expected_attach_type == AttachType.CGROUP_INET_SOCK_CREATE


@pytest.mark.parametrize("section", ["cgroup_skb/ingress", "counts"])
def test_a_program_is_chosen_by_its_section_or_its_function(objects: dict[str, Path], section: str) -> None:
    with bpf.load_object(objects["two"], section) as program:
        info = program.info()
        assert (info.name, info.type, info.tag) == ("counts", ProgType.CGROUP_SKB, fdinfo_tag(program.fd))
        assert verdict(program.fd) == 1
        (map_id,) = info.map_ids
        with Map.by_id(map_id) as counter:
            assert counter.lookup(bytes(4)) == (1).to_bytes(8, "little")


def test_a_program_is_chosen_by_its_type(objects: dict[str, Path]) -> None:
    with bpf.load_object(objects["two"], prog_type=ProgType.CGROUP_SOCK) as program:
        assert program.info().name == "refuses"


def test_each_load_is_a_program_of_its_own_with_maps_of_its_own(objects: dict[str, Path]) -> None:
    """Also where the object asks for its maps to be pinned and shared."""
    with bpf.load_object(objects["two"], "counts") as first, bpf.load_object(objects["two"], "counts") as second:
        assert first.info().tag == second.info().tag
        assert first.info().id != second.info().id
        assert first.info().map_ids != second.info().map_ids
    assert not Path("/sys/fs/bpf/counter").exists()


def test_a_section_that_says_no_type_takes_that_of_the_hook(objects: dict[str, Path]) -> None:
    (drops,) = bpf.programs_of_object(objects["plain"].read_bytes())
    assert drops.prog_type == ProgType.UNSPEC
    egress = AttachType.CGROUP_INET_EGRESS
    with bpf.load_object(objects["plain"], prog_type=ProgType.CGROUP_SKB, attach_type=egress) as program:
        assert program.info().type == ProgType.CGROUP_SKB
        assert verdict(program.fd) == 0


@pytest.mark.parametrize(
    ("name", "section", "prog_type", "words"),
    [
        ("two", None, None, "more than one fits"),
        ("two", "cgroup_skb/egress", None, "there is none"),
        ("two", "counts", ProgType.CGROUP_SOCK, "of type cgroup_sock is wanted"),
        ("same_section", "cgroup/skb", None, "more than one fits"),
        ("same_section", "third", None, "cgroup/skb \\(first, cgroup_skb\\)"),
    ],
)
def test_no_choice_or_too_much_of_it_is_einval(
    objects: dict[str, Path], name: str, section: str | None, prog_type: ProgType | None, words: str
) -> None:
    with pytest.raises(OSError, match=words) as caught:
        bpf.load_object(objects[name], section, prog_type=prog_type)
    assert caught.value.errno == errno.EINVAL
    assert str(objects[name]) in str(caught.value)


def test_two_programs_of_one_section_are_told_apart_by_name(objects: dict[str, Path]) -> None:
    for name, expected in (("first", 1), ("second", 0)):
        with bpf.load_object(objects["same_section"], name) as program:
            assert verdict(program.fd) == expected


def test_the_verifiers_words_come_with_its_refusal(objects: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(VerifierError, match="invalid bpf_context access") as caught:
        bpf.load_object(objects["bad"])
    assert caught.value.errno == errno.EACCES
    assert "off=4096" in caught.value.log
    assert set(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + bytes(60), b"#!/bin/sh\n" * 100])
def test_what_is_no_object_is_an_error(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    for act in (bpf.programs_of_object, bpf.load_object_bytes):
        with pytest.raises(OSError, match="reading the ELF object") as caught:
            act(content)
        assert not isinstance(caught.value, VerifierError)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_object_is_an_error(objects: dict[str, Path]) -> None:
    content = objects["two"].read_bytes()
    with pytest.raises(OSError, match="ELF object"):
        bpf.load_object_bytes(content[: len(content) // 2], "counts")


def test_a_missing_file_is_enoent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bpf.load_object(tmp_path / "missing.o")
