"""cgfs/mount_options.py: what each word of -o does."""

import errno

import pytest

from cgfs.mount_options import MountOptions, parse


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", MountOptions()),
        ("defaults,rw,nosuid,nodev,noexec,default_permissions,allow_other", MountOptions()),
        ("noauto,nofail,_netdev,x-systemd.requires=network.target", MountOptions()),
        ("noallow_other", MountOptions(allow_other=False)),
        ("attach_cap", MountOptions(attach_cap=True)),
        ("noattach_cap", MountOptions(attach_cap=False)),
        ("nopassthrough, ro", MountOptions(passthrough=False, read_only=True)),
        ("ro,rw", MountOptions()),
        ("noatime,sync,user,X-mount.mkdir", MountOptions()),
    ],
)
def test_words_are_understood_and_a_later_one_wins(text: str, options: MountOptions) -> None:
    assert parse(text) == options


@pytest.mark.parametrize("word", ["attachcap", "uid=0", "none", "allow_other=1", "suid", "dev", "exec", "remount"])
def test_other_words_are_refused_by_name(word: str) -> None:
    with pytest.raises(OSError, match=f"-o {word}: ") as caught:
        parse(f"ro,{word}")
    assert caught.value.errno == errno.EINVAL


def test_sloppily_other_words_change_nothing_but_the_impossible_is_refused() -> None:
    assert parse("bogus,ro,uid=0", sloppily=True) == MountOptions(read_only=True)
    with pytest.raises(OSError, match="-o suid: "):
        parse("bogus,suid", sloppily=True)
