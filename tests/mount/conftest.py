"""The overlay: one real daemon for the tests of a module."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon import Overlay
from tests.support.watchdog import Watchdog

StartOverlay = Callable[..., contextlib.AbstractContextManager[Overlay]]


@pytest.fixture(scope="module")
def overlay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, watchdog: Watchdog
) -> Iterator[Overlay]:
    """A daemon that mirrors the whole of cgroup2, shared by the module's tests.

    Mount options by indirect parametrisation:
    pytestmark = pytest.mark.parametrize("overlay", [(), ("nopassthrough",)], indirect=True)
    """
    options: tuple[str, ...] = getattr(request, "param", ())
    mountpoint = public_directory(tmp_path_factory) / "mirror"
    with Overlay.started(mountpoint, watchdog, options=options) as started:
        yield started


@pytest.fixture
def start_overlay(tmp_path_factory: pytest.TempPathFactory, watchdog: Watchdog) -> StartOverlay:
    """Overlay.started on a mount point of its own, for tests of the daemon's own life; keywords as there."""
    directory = public_directory(tmp_path_factory)

    def start(name: str = "mirror", **keywords: object) -> contextlib.AbstractContextManager[Overlay]:
        return Overlay.started(directory / name, watchdog, **keywords)  # type: ignore[arg-type]

    return start


def public_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new directory that every user can reach: pytest's own are for root only, those above it too."""
    directory = tmp_path_factory.mktemp("overlay")
    for each in (directory, *directory.parents):
        if each == Path("/tmp") or each == each.parent:
            break
        each.chmod(each.stat().st_mode | 0o055)
    return directory


@dataclass(frozen=True, slots=True)
class Twin:
    """One cgroup, seen on cgroup2 and on the mirror."""

    native: Path
    mirror: Path


@pytest.fixture
def twin(overlay: Overlay, tmp_cgroup: Path) -> Twin:
    """A fresh cgroup with its path on cgroup2 and its path on the mirror."""
    return Twin(tmp_cgroup, overlay.path(tmp_cgroup))
