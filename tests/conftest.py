"""Fixtures of every tier: cgroups, children, and no test that is quietly left out.

CGFS_TEST_NO_SKIP=1, which scripts/test sets, turns a skip into a failure.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.cgroups import cgroup2_mount, temporary_cgroup
from tests.support.places import remove_public_directories
from tests.support.watchdog import Watchdog

NO_SKIP = os.environ.get("CGFS_TEST_NO_SKIP") == "1"

_watchdog = pytest.StashKey[Watchdog]()


def pytest_configure(config: pytest.Config) -> None:
    if os.geteuid() == 0:
        config.stash[_watchdog] = Watchdog()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _watchdog in config.stash:
        config.stash[_watchdog].close()
    remove_public_directories()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is below kernel/ and mount/ needs root, and says so."""
    for item in items:
        if {"kernel", "mount"} & set(item.path.parts):
            item.add_marker(pytest.mark.root)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, None]:
    outcome = yield
    report = outcome.get_result()
    if _watchdog in item.config.stash:
        item.config.stash[_watchdog].step()
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"a skip is a failure here: {report.longrepr}"


@pytest.fixture(scope="session")
def watchdog(pytestconfig: pytest.Config) -> Watchdog:
    """The process that ends a hanging mount."""
    return pytestconfig.stash[_watchdog]


@pytest.fixture(scope="session")
def cgroup2() -> Path:
    """Where cgroup2 is mounted."""
    return cgroup2_mount()


@pytest.fixture
def tmp_cgroup() -> Iterator[Path]:
    """A fresh cgroup on the cgroup2 mount; removed with the processes and cgroups in it, also when the test
    fails.
    """
    with temporary_cgroup() as path:
        yield path
