"""What `pip install .` installs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_has_the_command_the_module_and_the_header(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run(
        [*pip, "-w", str(tmp_path), f"--config-settings=build-dir={tmp_path}/build", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("cgfs-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "cgfs = cgfs.cli:main" in content.read(entry_points).decode().replace("cgfs=", "cgfs = ")
    assert {"cgfs/include/cgfs.h", "cgfs/py.typed", "cgfs/client.py", "cgfs/commands/mount.py"} <= set(names)
    assert any(name.startswith("cgfs/_native.") and name.endswith(".so") for name in names)
    (data,) = {name.split("/")[0] for name in names if ".data/" in name}
    assert {f"{data}/data/share/man/man8/cgfs.8", f"{data}/data/lib/systemd/system/cgfs.service"} <= set(names)
    assert not any(name.startswith(("tests", "native")) for name in names)
