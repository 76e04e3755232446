"""The overlay: one real daemon for the tests of a module."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon import Overlay
from tests.support.places import public_directory
from tests.support.watchdog import Watchdog

StartOverlay = Callable[..., contextlib.AbstractContextManager[Overlay]]


@pytest.fixture(scope="module")
def overlay(request: pytest.FixtureRequest, watchdog: Watchdog) -> Iterator[Overlay]:
    """A daemon that mirrors the whole of cgroup2, shared by the module's tests.

    Mount options by indirect parametrisation:
    pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True)
    """
    options: tuple[str, ...] = getattr(request, "param", ())
    with Overlay.started(public_directory() / "mirror", watchdog, options=options) as started:
        yield started


@pytest.fixture
def start_overlay(watchdog: Watchdog) -> StartOverlay:
    """Overlay.started on a mount point of its own, for tests of the daemon's own life; keywords as there."""
    directory = public_directory()

    def start(name: str = "mirror", **keywords: object) -> contextlib.AbstractContextManager[Overlay]:
        return Overlay.started(directory / name, watchdog, **keywords)  # type: ignore[arg-type]

    return start


@dataclass(frozen=True, slots=True)
class Twin:
    """One cgroup, seen on cgroup2 and on the mirror."""

    native: Path
    mirror: Path


@pytest.fixture
def twin(overlay: Overlay, tmp_cgroup: Path) -> Twin:
    """A fresh cgroup with its path on cgroup2 and its path on the mirror."""
    return Twin(tmp_cgroup, overlay.path(tmp_cgroup))


def options_of(mountpoint: Path) -> set[str]:
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return next({*line[5].split(","), *line[-1].split(",")} for line in mounts if line[4] == str(mountpoint))


def remount(mountpoint: Path, options: set[str]) -> None:
    """Give the mount exactly these options; mount(8) would add the present ones if it were told the directory only."""
    command = ["mount", "-o", ",".join(["remount", *sorted(options)]), "cgroup2", str(mountpoint)]
    subprocess.run(command, check=True, timeout=60)


@pytest.fixture
def nsdelegate(cgroup2: Path) -> Iterator[None]:
    """cgroup2 with namespaces as boundaries of delegation, as systemd mounts it, for the time of one test."""
    present = options_of(cgroup2)
    remount(cgroup2, present | {"nsdelegate"})
    try:
        yield
    finally:
        remount(cgroup2, present)
