"""What a filter was written as: remembered, and shown only if it is true."""

from pathlib import Path

import pytest

from cgfs import expressions


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(expressions, "ROOTS", tmp_path / "roots")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_what_was_remembered_is_known() -> None:
    text = expressions.text_of("tcp dst port 443")
    assert expressions.known(text) is None
    expressions.remember("tcp dst port 443", text)
    assert expressions.known(text) == "tcp dst port 443"


def test_what_is_not_true_is_not_shown() -> None:
    text = expressions.text_of("tcp dst port 443")
    expressions.remember("udp", text)
    assert expressions.known(text) is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"no expression at all (", b"udp\0"])
def test_what_is_damaged_is_not_shown(directory: Path, content: bytes) -> None:
    text = expressions.text_of("tcp")
    expressions.remember("tcp", text)
    file = next(path for path in directory.rglob("*") if path.is_file())
    file.write_bytes(content)
    assert expressions.known(text) is None
