"""What a mount demands of those who attach."""

from pathlib import Path

import pytest

from cgfs import changes


def test_unprivileged_bpf_is_asked_for_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = tmp_path / "unprivileged_bpf_disabled"
    monkeypatch.setattr(changes, "_UNPRIVILEGED_BPF_DISABLED", str(setting))
    assert changes.unprivileged_bpf()
    for value, expected in (("0\n", True), ("1\n", False), ("2\n", False), ("0\n", True)):
        setting.write_text(value)
        assert changes.unprivileged_bpf() is expected
