"""Programs that are kept as pins: the latest of each user, so many and so much."""

import errno
import itertools
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import bpffs
from cgfs.bpf import Map, MapType, Program, ProgType, load_object
from cgfs.store.pins import PinStore
from tests.support import programs
from tests.support.objects import compile_source
from tests.support.syscalls import umount
from tests.support.users import ALICE, BOB, Identity

MIB = 1 << 20
_numbers = itertools.count(1)


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[PinStore]:
    """In a bpf file system of the test's own. A user keeps three programs, or 8 MiB."""
    mountpoint = tmp_path / "bpf"
    yield PinStore(bpffs.directory("pins", mountpoint), quota=3, quota_bytes=8 * MIB)
    umount(str(mountpoint))


def kept(pins: PinStore, user: Identity, *maps: Map) -> int:
    """Keep a program that no other is like, with those maps. Its id."""
    code = programs.return_value(programs.ALLOW, salt=next(_numbers))
    with Program.load(ProgType.CGROUP_SOCK, code, name="cgfs_test") as program:
        for map_ in maps:
            program.bind_map(map_)
        pins.keep(program, user.uid, user.gid)
        return program.info().id


def an_array(size: int) -> Map:
    return Map.create(MapType.ARRAY, 4, size, 1, "cgfs_map")


def ids_of(pins: PinStore, user: Identity) -> list[int]:
    return sorted(int(entry.key.split("-")[1]) for entry in pins.entries() if entry.uid == user.uid)


def test_the_latest_are_kept_of_each_user(pins: PinStore) -> None:
    bobs = kept(pins, BOB)
    alices = [kept(pins, ALICE) for _ in range(5)]
    assert ids_of(pins, ALICE) == alices[-3:]
    assert ids_of(pins, BOB) == [bobs]


def test_what_cannot_be_looked_at_for_want_of_a_descriptor_is_not_said_to_be_missing(pins: PinStore) -> None:
    ids = [kept(pins, ALICE) for _ in range(2)]
    entries = pins.entries()
    next(entries)
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, usual[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            next(entries)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert ids_of(pins, ALICE) == ids


def test_those_of_a_user_and_of_a_tag_can_be_asked_for(pins: PinStore) -> None:
    for user in (ALICE, BOB):
        kept(pins, user)
    (bobs,) = pins.entries(uid=BOB.uid)
    assert bobs.uid == BOB.uid
    assert list(pins.entries(tag=bobs.tag)) == list(pins.entries(uid=BOB.uid, tag=bobs.tag)) == [bobs]
    assert list(pins.entries(uid=ALICE.uid, tag=bobs.tag)) == []


def test_the_latest_are_kept_that_are_not_too_large_together(pins: PinStore) -> None:
    with an_array(3 * MIB) as one, an_array(3 * MIB) as other, an_array(3 * MIB) as third:
        bobs = kept(pins, BOB, one)
        alices = [kept(pins, ALICE, map_) for map_ in (one, other, third)]
    assert ids_of(pins, ALICE) == alices[-2:]
    assert ids_of(pins, BOB) == [bobs]


def test_a_map_that_programs_share_counts_once(pins: PinStore) -> None:
    with an_array(6 * MIB) as shared:
        alices = [kept(pins, ALICE, shared) for _ in range(3)]
    assert ids_of(pins, ALICE) == alices


def test_one_that_is_too_large_is_not_kept_and_takes_no_others_place(pins: PinStore) -> None:
    first = kept(pins, ALICE)
    with an_array(9 * MIB) as large, pytest.raises(OSError, match="at most 8192 KiB") as caught:
        kept(pins, ALICE, large)
    assert caught.value.errno == errno.EDQUOT
    assert ids_of(pins, ALICE) == [first]


def test_a_map_counts_as_if_it_were_full(pins: PinStore) -> None:
    no_prealloc = 1  # BPF_F_NO_PREALLOC
    with (
        Map.create(MapType.HASH, 4, 1024, 1 << 20, "cgfs_map", flags=no_prealloc) as growing,
        pytest.raises(OSError, match="with its maps"),
    ):
        kept(pins, ALICE, growing)


MAP_OF_AN_OBJECT = """
struct value {{ {members} }};
struct {{
	int (*type)[{type}];
	int (*map_flags)[{flags}];
	{entries}
	int *key;
	struct value *value;
}} a_map __attribute__((section(".maps"), used));
__attribute__((section("cgroup/sock_create"), used)) int allow(void *context)
{{
	void *volatile used = &a_map;
	return 1;
}}
"""


def test_the_btf_of_its_maps_counts(pins: PinStore, tmp_path: Path) -> None:
    members = "".join(f"char {'x' * 200}{number};" for number in range(3000))
    source = MAP_OF_AN_OBJECT.format(members=members, type=2, flags=0, entries="int (*max_entries)[1];")
    with load_object(compile_source(tmp_path / "large.o", source)) as program:
        assert sum(size for name, size in program.memory().items() if name.startswith("btf ")) > MIB // 2
        small = PinStore(pins.directory, quota_bytes=MIB // 2)
        with pytest.raises(OSError, match="at most 512 KiB") as caught:
            small.keep(program, ALICE.uid, ALICE.gid)
    assert caught.value.errno == errno.EDQUOT


def test_one_with_local_storage_is_not_kept(pins: PinStore, tmp_path: Path) -> None:
    """It has a value for each socket there will be, and no largest number of them."""
    source = MAP_OF_AN_OBJECT.format(members="char byte;", type=24, flags=1, entries="")
    with (
        load_object(compile_source(tmp_path / "storage.o", source)) as program,
        pytest.raises(OSError, match="how large") as caught,
    ):
        pins.keep(program, ALICE.uid, ALICE.gid)
    assert caught.value.errno == errno.EDQUOT


def test_one_with_maps_in_a_map_is_not_kept(pins: PinStore) -> None:
    """What is put into it later would be kept, too."""
    with an_array(8) as inner, a_map_of_maps(inner) as outer, pytest.raises(OSError, match="how large") as caught:
        kept(pins, ALICE, outer)
    assert caught.value.errno == errno.EDQUOT
    assert ids_of(pins, ALICE) == []


def a_map_of_maps(inner: Map) -> Map:
    attributes = struct.pack("=IIIIII", MapType.ARRAY_OF_MAPS, 4, 4, 1, 0, inner.fd)
    return Map(programs.bpf(0, attributes)[0])


def pinned(pins: PinStore) -> list[str]:
    return sorted(path.name for path in pins.directory.iterdir())


def test_programs_that_do_the_same_have_one_pin(pins: PinStore) -> None:
    code = programs.return_value(programs.ALLOW, salt=next(_numbers))
    with (
        Program.load(ProgType.CGROUP_SOCK, code, name="cgfs_test") as first,
        Program.load(ProgType.CGROUP_SOCK, code, name="cgfs_test") as second,
    ):
        for program in (first, second, first, second):
            pins.keep(program, ALICE.uid, ALICE.gid)
        assert ids_of(pins, ALICE) == [first.info().id]
        pins.keep(second, BOB.uid, BOB.gid)
        assert ids_of(pins, BOB) == [second.info().id]


def test_one_that_a_killed_daemon_has_left_with_the_wrong_owner_is_its_user_s(pins: PinStore) -> None:
    code = programs.return_value(programs.ALLOW, salt=next(_numbers))
    with Program.load(ProgType.CGROUP_SOCK, code, name="cgfs_test") as program:
        pin = pins.directory / f"{ALICE.uid}-{program.info().id}-{program.info().tag}"
        program.pin(pin)
        assert ids_of(pins, ALICE) == [program.info().id]
        pins.keep(program, ALICE.uid, ALICE.gid)
        assert pin.stat().st_uid == ALICE.uid


def test_what_was_removed_is_kept_again(pins: PinStore) -> None:
    with Program.load(ProgType.CGROUP_SOCK, programs.return_value(1), name="cgfs_test") as program:
        for _ in range(3):
            pins.keep(program, ALICE.uid, ALICE.gid)
            (name,) = pinned(pins)
            pins.remove(name)
            assert pinned(pins) == []
