"""Programs and maps as objects of the kernel: loaded, found, described, pinned, read and written."""

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import bpf, bpffs
from cgfs.bpf import AttachType, Map, MapType, Program, ProgType, VerifierError
from tests.support import programs
from tests.support.bpftool import bpftool, program_tag
from tests.support.child import run
from tests.support.programs import ALLOW, DENY, Hook
from tests.support.syscalls import Capability, umount
from tests.support.users import ALICE

KEY = struct.pack("=I", 0)
RAW_TRACEPOINT = 17


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    """A directory in a bpf file system of the test's own."""
    mountpoint = tmp_path / "bpf"
    yield bpffs.directory("pins", mountpoint)
    umount(str(mountpoint))


@pytest.fixture
def program() -> Iterator[Program]:
    with an_allowing_program() as loaded:
        yield loaded


def an_allowing_program(name: str = "cgfs_test") -> Program:
    return Program.load(ProgType.CGROUP_SKB, programs.return_value(ALLOW), name=name)


def an_array(value_size: int = 8) -> Map:
    return Map.create(MapType.ARRAY, 4, value_size, 2, "cgfs_map")


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("hook", Hook)
def test_info_is_what_fdinfo_and_bpftool_say(hook: Hook) -> None:
    before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with programs.program(hook, DENY) as fd:
        info = bpf.program_info(fd)
        after_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert (info.id, info.tag) == (programs.fdinfo_id(fd), programs.fdinfo_tag(fd))
        assert info.tag == program_tag(info.id)
    assert info.type == (ProgType.CGROUP_SOCK if hook == Hook.SOCKET_CREATE else ProgType.CGROUP_SKB)
    assert (info.name, info.uid, info.map_ids) == ("cgfs_test", os.getuid(), ())
    assert before_ns < info.loaded_at_ns < after_ns


def test_the_uid_is_that_of_whoever_loaded_it() -> None:
    loader = ALICE.with_capabilities(Capability.BPF, Capability.NET_ADMIN)

    def load() -> int:
        with an_allowing_program() as loaded:
            return loaded.info().uid

    assert run(load, identity=loader) == ALICE.uid


def test_a_program_of_a_type_without_a_name_here_has_its_number() -> None:
    fd = programs.load_instructions(RAW_TRACEPOINT, programs.return_value(0), Hook.INGRESS)
    with Program(fd) as loaded:
        assert loaded.info().type == RAW_TRACEPOINT
        assert loaded.info().type.name == "PROGTYPE_17"


def test_what_is_no_program_is_einval(tmp_cgroup: Path, program: Program) -> None:
    with (
        socket.socket(socket.AF_UNIX) as a_socket,
        programs.a_map() as a_map,
        programs.link(tmp_cgroup, program.fd, Hook.INGRESS) as a_link,
        open("/dev/null") as a_file,
    ):
        for fd in (a_socket.fileno(), a_map, a_link, a_file.fileno()):
            with pytest.raises(OSError, match="is no BPF program") as caught:
                bpf.program_info(fd)
            assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("fd", [-1, 1_000_000, 2**31 - 1])
def test_what_is_closed_is_ebadf(fd: int) -> None:
    with pytest.raises(OSError) as caught:
        bpf.program_info(fd)
    assert caught.value.errno == errno.EBADF


def test_a_program_is_found_by_its_id(program: Program) -> None:
    with Program.by_id(program.info().id) as same:
        assert same.info() == program.info()


def test_an_unknown_id_is_enoent() -> None:
    for find in (Program.by_id, Map.by_id):
        with pytest.raises(FileNotFoundError, match="with id 2147483647"):
            find(2**31 - 1)


def test_programs_do_the_same_by_type_and_instructions() -> None:
    with contextlib.ExitStack() as stack:
        one, same, other, other_type = (
            stack.enter_context(Program(programs.load(hook, value)))
            for hook, value in (
                (Hook.EGRESS, ALLOW),
                (Hook.EGRESS, ALLOW),
                (Hook.EGRESS, DENY),
                (Hook.SOCKET_CREATE, ALLOW),
            )
        )
        assert one.info().tag == other_type.info().tag
        assert [one.does_the_same_as(each) for each in (one, same, other, other_type)] == [True, True, False, False]


def test_a_pinned_program_outlives_its_descriptors(pins: Path) -> None:
    with an_allowing_program() as loaded:
        info = loaded.info()
        loaded.pin(pins / "it")
    assert (pins / "it").stat().st_mode & 0o7777 == 0o600
    with Program.pinned(pins / "it") as again:
        assert again.info() == info
    (pins / "it").unlink()
    with pytest.raises(FileNotFoundError):
        Program.pinned(pins / "it")


def test_a_pin_does_not_replace_another(pins: Path, program: Program) -> None:
    program.pin(pins / "it")
    with pytest.raises(FileExistsError):
        program.pin(pins / "it")


def test_a_pin_has_to_be_in_a_bpf_file_system(tmp_path: Path, program: Program) -> None:
    with pytest.raises(PermissionError):
        program.pin(tmp_path / "it")


def test_a_pinned_map_is_no_program_and_the_other_way_round(pins: Path, program: Program) -> None:
    program.pin(pins / "program")
    with an_array() as a_map:
        a_map.pin(pins / "map")
    before = open_descriptors()
    with pytest.raises(OSError, match="no BPF program") as caught:
        Program.pinned(pins / "map")
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="no BPF map") as caught:
        Map.pinned(pins / "program")
    assert caught.value.errno == errno.EINVAL
    assert open_descriptors() == before


def test_the_verifiers_words_come_with_its_refusal() -> None:
    returns_what_it_has_not_set = struct.pack("<BBhi", 0x95, 0, 0, 0)
    with pytest.raises(VerifierError, match="R0 !read_ok") as caught:
        Program.load(ProgType.CGROUP_SKB, returns_what_it_has_not_set, name="bad")
    assert caught.value.errno == errno.EACCES
    assert "R0 !read_ok" in caught.value.log


def test_a_load_that_fails_before_the_verifier_is_a_plain_error() -> None:
    with pytest.raises(OSError) as caught:
        Program.load(ProgType.CGROUP_SKB, programs.return_value(ALLOW), name="not-a-name")
    assert caught.value.errno == errno.EINVAL
    assert not isinstance(caught.value, VerifierError)


def test_the_expected_attach_type_is_given_to_the_kernel() -> None:
    """An egress program may return 2 and 3, congestion included; an ingress program may not."""
    code = programs.return_value(3)
    egress = AttachType.CGROUP_INET_EGRESS
    with Program.load(ProgType.CGROUP_SKB, code, name="cn", expected_attach_type=egress):
        pass
    with pytest.raises(VerifierError):
        Program.load(ProgType.CGROUP_SKB, code, name="cn", expected_attach_type=AttachType.CGROUP_INET_INGRESS)


def test_a_descriptor_is_closed_once_and_its_copy_stays(program: Program) -> None:
    copy = Program(os.dup(program.fd))
    fd = copy.fd
    assert fd != program.fd
    copy.close()
    copy.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    with pytest.raises(ValueError, match="closed"):
        _ = copy.fd
    assert program.info().name == "cgfs_test"


def test_descriptors_are_not_inherited(program: Program) -> None:
    with Program.by_id(program.info().id) as by_id, an_array() as a_map:
        for each in (program, by_id, a_map):
            assert not os.get_inheritable(each.fd)


def test_a_bound_map_lives_as_long_as_the_program(program: Program) -> None:
    with an_array() as a_map:
        map_id = a_map.info().id
        a_map.update(KEY, b"kept....")
        program.bind_map(a_map)
    assert program.info().map_ids == (map_id,)
    with Map.by_id(map_id) as again:
        assert again.lookup(KEY) == b"kept...."


def test_all_of_many_maps_are_listed(program: Program) -> None:
    ids = []
    for _ in range(70):
        with an_array() as a_map:
            program.bind_map(a_map)
            ids.append(a_map.info().id)
    assert program.info().map_ids == tuple(ids)


def test_a_maps_info_is_what_bpftool_says() -> None:
    with Map.create(MapType.HASH, 4, 24, 7, "cgfs_map") as a_map:
        info = a_map.info()
        said = bpftool("map", "show", "id", str(info.id))
        assert not a_map.is_frozen()
    assert (info.name, info.key_size, info.value_size, info.max_entries) == ("cgfs_map", 4, 24, 7)
    assert (said["name"], said["bytes_key"], said["bytes_value"], said["max_entries"]) == ("cgfs_map", 4, 24, 7)
    assert info.type == MapType.HASH


def test_what_was_written_is_read() -> None:
    with Map.create(MapType.HASH, 4, 3, 1, "cgfs_map") as a_map:
        assert a_map.lookup(b"key1") is None
        a_map.update(b"key1", b"abc")
        assert a_map.lookup(b"key1") == b"abc"
        with pytest.raises(OSError) as caught:
            a_map.update(b"key2", b"abc")
        assert caught.value.errno == errno.E2BIG


def test_a_large_value_is_read_whole() -> None:
    value = os.urandom(1 << 16)
    with an_array(len(value)) as a_map:
        a_map.update(KEY, value)
        assert a_map.lookup(KEY) == value


def test_a_frozen_map_cannot_be_written() -> None:
    with Map.create(MapType.ARRAY, 4, 8, 1, "cgfs_map") as a_map:
        a_map.update(KEY, b"final...")
        a_map.freeze()
        with pytest.raises(PermissionError):
            a_map.update(KEY, b"changed.")
        assert a_map.lookup(KEY) == b"final..."
        assert a_map.is_frozen()


@pytest.mark.parametrize(("key", "value"), [(b"", b"8 bytes."), (b"12345", b"8 bytes."), (KEY, b"7 bytes"), (KEY, b"")])
def test_a_key_or_value_of_another_size_is_einval(key: bytes, value: bytes) -> None:
    with an_array() as a_map, pytest.raises(OSError, match="bytes, not") as caught:
        a_map.update(key, value)
    assert caught.value.errno == errno.EINVAL


def test_a_map_whose_values_are_larger_than_they_look_is_refused() -> None:
    percpu_hash = MapType(5)
    with Map.create(percpu_hash, 4, 8, 1, "cgfs_map") as a_map:
        for act in (a_map.lookup, a_map.lookup_per_cpu, lambda key: a_map.update(key, bytes(8))):
            with pytest.raises(OSError) as caught:
                act(KEY)
            assert caught.value.errno == errno.EINVAL


def test_a_per_cpu_value_is_read_for_each_cpu() -> None:
    with Map.create(MapType.PERCPU_ARRAY, 4, 4, 1, "cgfs_map") as a_map:
        values = a_map.lookup_per_cpu(KEY)
        assert len(values) >= (os.cpu_count() or 1)
        assert set(values) == {bytes(4)}


def test_a_program_array_says_the_programs_id(program: Program) -> None:
    with Map.create(MapType.PROG_ARRAY, 4, 4, 1, "cgfs_map") as a_map:
        assert a_map.lookup(KEY) is None
        a_map.update(KEY, struct.pack("=i", program.fd))
        assert a_map.lookup(KEY) == struct.pack("=I", program.info().id)
