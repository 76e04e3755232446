"""The objects of the program store: what is in one, what is damaged, and a kernel that makes other tags."""

import errno
import fcntl
import json
import os
import signal
from pathlib import Path

import pytest

from cgfs.control import by_hook
from cgfs.store.objects import ObjectStore
from tests.support.child import run
from tests.support.objects import compile_object
from tests.support.programs import ALLOW, DENY

F_SETLEASE = 1024  # fcntl(2)
SECTIONS = ("cgroup/sock_create", "cgroup_skb/egress", "cgroup/post_bind4", "cgroup/connect4")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return compile_object(tmp_path / "deny.o", ("cgroup/sock_create", "deny", DENY)).read_bytes()


def names(store: ObjectStore) -> list[str]:
    return [entry.name for entry in store.entries()]


def test_only_programs_that_a_control_file_takes_are_entries(store: ObjectStore, tmp_path: Path) -> None:
    """The type alone does not say it: what is for another hook has the same tag, and cannot be attached."""
    programs = [(section, f"program_{number}", ALLOW) for number, section in enumerate(SECTIONS)]
    store.add(compile_object(tmp_path / "all.o", *programs).read_bytes())
    assert names(store) == ["program_0", "program_1"]
    other = compile_object(tmp_path / "other.o", ("cgroup/post_bind4", "other", ALLOW)).read_bytes()
    with pytest.raises(OSError, match="no program"):
        store.add(other)


def test_under_a_kernel_of_another_release_tags_are_found_out_anew(store: ObjectStore, content: bytes) -> None:
    index = store.directory / f"{store.add(content)}.json"
    (entry,) = store.entries()
    value = json.loads(index.read_bytes())
    value["kernel"] = "5.17.0"
    value["programs"][0]["tag"] = "0123456789abcdef"
    index.write_text(json.dumps(value))
    assert list(store.entries()) == [entry]
    assert json.loads(index.read_bytes())["programs"][0]["tag"] == entry.tag


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'{"programs": [1]}',
        b'{"kernel": "x", "programs": [{"section": 1, "name": [], "prog_type": "CGROUP_SKB", "tag": 1}]}',
        b'{"programs": [{"section": "s", "name": "n", "prog_type": "CGROUP_SKB", "tag": "t", "instructions": [1]}]}',
        None,
        "directory",
    ],
)
def test_what_is_damaged_is_no_entry_and_hides_no_other(store: ObjectStore, content: bytes, index: object) -> None:
    store.add(content)
    damaged = store.directory / f"{'0' * 64}.json"
    if isinstance(index, bytes):
        damaged.write_bytes(index)
    elif index is None:
        damaged.symlink_to(damaged)
    else:
        damaged.mkdir()
    assert names(store) == ["deny"]


def test_an_index_that_says_another_tag_attaches_nothing(store: ObjectStore, content: bytes) -> None:
    index = store.directory / f"{store.add(content)}.json"
    tag = next(store.entries()).tag
    index.write_text(index.read_text().replace(tag, tag[::-1]))
    (damaged,) = store.entries()
    assert damaged.tag == tag[::-1]
    with pytest.raises(OSError, match="is damaged") as caught:
        store.load(damaged, by_hook("socket-create"))
    assert caught.value.errno == errno.EBADMSG


@pytest.mark.parametrize("what", ["object", "index", "neither"])
def test_what_was_damaged_is_added_again(store: ObjectStore, content: bytes, what: str) -> None:
    digest = store.add(content)
    if what == "object":
        (store.directory / f"{digest}.o").write_bytes(b"damaged")
    if what == "index":
        (store.directory / f"{digest}.json").write_bytes(b"damaged")
    assert store.add(content) == digest
    assert store.content(digest) == content
    assert names(store) == ["deny"]


def test_who_owns_an_object_makes_nobody_wait_or_read_without_end(store: ObjectStore, content: bytes) -> None:
    digest = store.add(content)
    path = store.directory / f"{digest}.o"
    with path.open("r+b") as file:
        fcntl.fcntl(file, F_SETLEASE, fcntl.F_WRLCK)
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        with pytest.raises(BlockingIOError):
            run(lambda: store.content(digest))
        fcntl.fcntl(file, F_SETLEASE, fcntl.F_UNLCK)
    os.truncate(path, 1 << 40)
    with pytest.raises(OSError, match="damaged"):
        store.content(digest)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="damaged"):
        store.content(digest)


def test_an_object_that_is_gone_is_removed_all_the_same(store: ObjectStore, content: bytes) -> None:
    digest = store.add(content)
    (store.directory / f"{digest}.o").unlink()
    store.remove(digest)
    assert store.digests() == []
