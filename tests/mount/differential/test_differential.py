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
from tests.mount.differential.differences import DIFFERENCES, as_markdown
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
MIRROR_IS_CGROUP2 = os.environ.get("CGFS_TEST_MIRROR") == "cgroup2"


@pytest.fixture(scope="module", params=ACTORS)
def both_sides(request: pytest.FixtureRequest) -> Iterator[tuple[str, Stage]]:
    """An actor's name, and the stage with its two sides."""
    name: str = request.param
    to_mirror = (lambda path: path) if MIRROR_IS_CGROUP2 else request.getfixturevalue("overlay").path
    with stage(ACTORS[name], to_mirror) as both:
        yield name, both


@pytest.mark.parametrize("act", ACTS)
def test_act(both_sides: tuple[str, Stage], act: str) -> None:
    actor, sides = both_sides
    native, mirror = sides.native.perform(act), sides.mirror.perform(act)
    if any(row.concerns(actor, act) for row in DIFFERENCES) and not MIRROR_IS_CGROUP2:
        assert mirror != native, "this is in the table of differences, and there is none"
    else:
        assert mirror == native


def test_the_table_names_acts_and_actors_that_exist() -> None:
    assert {act for row in DIFFERENCES for act in row.acts} <= set(ACTS)
    assert {actor for row in DIFFERENCES for actor in row.actors} <= set(ACTORS)


def test_the_readme_shows_the_table_of_differences() -> None:
    readme = Path(__file__).parents[3] / "README.md"
    assert as_markdown() in readme.read_text(encoding="utf-8")
