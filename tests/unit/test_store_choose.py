"""Which program a tag means, for whom."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from cgfs.bpf import ProgType
from cgfs.store.choose import AmbiguousTagError, choose
from cgfs.store.entry import Entry, Origin, User

TAG = "0123456789abcdef"
ALICE = User(1000, frozenset({1000, 50}))


def entry(content: str, *, uid: int = 0, gid: int = 0, mode: int = 0o600, tag: str = TAG) -> Entry:
    return Entry(
        origin=Origin.OBJECT,
        key=content,
        content=content,
        path=Path("/store") / content,
        tag=tag,
        prog_type=ProgType.CGROUP_SKB,
        name="filter",
        uid=uid,
        gid=gid,
        mode=mode,
    )


def test_the_only_usable_entry_is_chosen() -> None:
    readable = entry("readable", mode=0o644)
    assert (
        choose([entry("other", tag="f" * 16), entry("secret"), readable], TAG, ProgType.CGROUP_SKB, ALICE) == readable
    )


def test_an_own_entry_comes_before_one_that_permissions_allow() -> None:
    own = entry("own", uid=1000)
    assert choose([entry("readable", mode=0o644), own], TAG, ProgType.CGROUP_SKB, ALICE) == own


@pytest.mark.parametrize(
    ("gid", "mode", "usable"),
    [(50, 0o640, True), (51, 0o640, False), (50, 0o604, False), (51, 0o604, True), (0, 0o600, False)],
)
def test_permission_bits_decide_as_they_do_for_files(gid: int, mode: int, usable: bool) -> None:
    assert ALICE.may_use(entry("other", gid=gid, mode=mode)) is usable


def test_an_owner_without_the_read_bit_may_not_use_it() -> None:
    assert not ALICE.may_use(entry("own", uid=1000, mode=0o077))


def test_dac_override_may_use_every_object_and_nobody_s_pin() -> None:
    """A pin is somebody's very program: he could detach it again by its descriptor."""
    root = User(0, frozenset(), override=True)
    other = entry("other", uid=5, mode=0)
    assert root.may_use(other)
    assert not root.may_use(replace(other, origin=Origin.PIN))
    assert root.may_use(replace(other, origin=Origin.PIN, uid=0))


def test_two_that_are_equally_near_are_ambiguous_and_named() -> None:
    entries = [entry("one", mode=0o644), entry("two", mode=0o644)]
    with pytest.raises(AmbiguousTagError, match="/store/one, /store/two") as caught:
        choose(entries, TAG, ProgType.CGROUP_SKB, ALICE)
    assert caught.value.errno == errno.EINVAL


def test_the_same_content_twice_is_not_ambiguous() -> None:
    entries = [entry("one", mode=0o644), entry("one", mode=0o644)]
    assert choose(entries, TAG, ProgType.CGROUP_SKB, ALICE) == entries[0]


def test_no_entry_is_einval() -> None:
    with pytest.raises(OSError, match="program list") as caught:
        choose([entry("other", mode=0o644)], TAG, ProgType.CGROUP_SOCK, ALICE)
    assert caught.value.errno == errno.EINVAL
