"""Every act gives and leaves the same on cgroup2 and on the mirror, or differences.py says why not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.differential import (  # noqa: F401
    acts_attributes,
    acts_directories,
    acts_files,
    acts_kernel,
    acts_processes,
)
from tests.mount.differential.acts import ACTS
from tests.mount.differential.differences import DIFFERENCES
from tests.mount.differential.stage import Actor, Stage, stage
from tests.support.syscalls import Capability
from tests.support.users import CONTAINER, ROOT, Identity

DELEGATE = Identity(1000, 1000, groups=(2000,))
ACTORS = {
    "root": Actor(ROOT),
    "delegate": Actor(DELEGATE),
    "delegate with a capability": Actor(DELEGATE.with_capabilities(Capability.DAC_OVERRIDE)),
    "root without capabilities": Actor(ROOT.with_capabilities()),
    "container": Actor(ROOT, CONTAINER),
}
DIFFERENT = {name: row for row in DIFFERENCES for name in row.acts}


@pytest.fixture(scope="module", params=ACTORS)
def actors(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage of one actor."""
    if os.environ.get("CGFS_TEST_MIRROR") == "cgroup2":
        with stage(ACTORS[request.param], lambda path: path) as both:
            yield both
        return
    overlay = request.getfixturevalue("overlay")
    with stage(ACTORS[request.param], overlay.path) as both:
        yield both


@pytest.mark.parametrize("name", ACTS)
def test_act(actors: Stage, name: str) -> None:
    native, mirror = actors.native.perform(name), actors.mirror.perform(name)
    if name not in DIFFERENT:
        assert mirror == native


def test_the_table_names_acts_that_exist() -> None:
    assert set(DIFFERENT) <= set(ACTS)


def test_there_is_a_table_of_readable_rows() -> None:
    assert all(row.what and row.why and row.acts for row in DIFFERENCES)
    assert Path(__file__).with_name("differences.py").exists()
