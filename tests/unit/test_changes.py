"""The log's words: other people's names are one word, printable, and can be had back."""

import json
from pathlib import Path

import pytest

from cgfs import changes
from cgfs.changes import quoted

NAMES = [
    "",
    "plain",
    "a b",
    "line\nbreak",
    "\x1b[2J",
    'quote"',
    "back\\slash",
    "\x7f",
    "\x9b31m",
    "\u202e",
    "ünï",
    "\udcff",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_quoted_and_can_be_had_back(name: str) -> None:
    text = quoted(name)
    assert text[0] == text[-1] == '"'
    assert all(" " <= char <= "~" for char in text)
    assert json.loads(text) == name


def test_what_is_long_is_cut_and_says_so() -> None:
    assert quoted("x" * 200) == '"' + "x" * 200 + '"'
    assert quoted("x" * 201) == '"' + "x" * 200 + '... (201 characters)"'


def test_unprivileged_bpf_is_asked_for_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = tmp_path / "unprivileged_bpf_disabled"
    monkeypatch.setattr(changes, "_UNPRIVILEGED_BPF_DISABLED", str(setting))
    assert not changes.unprivileged_bpf()
    for value, expected in (("0\n", True), ("1\n", False), ("2\n", False), ("0\n", True)):
        setting.write_text(value)
        assert changes.unprivileged_bpf() is expected
