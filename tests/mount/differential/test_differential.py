"""Every act gives and leaves the same on cgroup2 and on the mirror, or differences.py says why not."""

import contextlib
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
from tests.mount.differential.differences import DIFFERENCES, Reads, as_markdown
from tests.mount.differential.stage import Actor, Stage, Translate, stage
from tests.support.daemon import Overlay
from tests.support.places import public_directory
from tests.support.syscalls import Capability
from tests.support.users import CONTAINER, ROOT, Identity
from tests.support.watchdog import Watchdog

DELEGATE = Identity(1000, 1000, groups=(2000,))
ACTORS = {
    "root": Actor(ROOT),
    "delegate": Actor(DELEGATE),
    "delegate with a capability": Actor(DELEGATE.with_capabilities(Capability.DAC_OVERRIDE)),
    "root without capabilities": Actor(ROOT.with_capabilities()),
    "container": Actor(ROOT, CONTAINER),
}
MIRROR_IS_CGROUP2 = os.environ.get("CGFS_TEST_MIRROR") == "cgroup2"

# Every actor where the kernel reads by itself; where the daemon reads, those whose identity it has to take on.
PAIRS = [
    *((Reads.PASS_THROUGH, actor) for actor in ACTORS),
    *((Reads.BY_THE_DAEMON, actor) for actor in ("delegate", "container")),
]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0].value}, {pair[1]}")
def both_sides(request: pytest.FixtureRequest, watchdog: Watchdog) -> Iterator[tuple[Reads, str, Stage]]:
    """How the mirror reads, who acts, and the stage with its two sides."""
    reads, actor = request.param
    with contextlib.ExitStack() as stack:
        to_mirror: Translate = Path
        if not MIRROR_IS_CGROUP2:
            mountpoint = public_directory() / "mirror"
            overlay = stack.enter_context(Overlay.started(mountpoint, watchdog, options=(reads.value,)))
            to_mirror = overlay.path
        yield reads, actor, stack.enter_context(stage(ACTORS[actor], to_mirror))


@pytest.mark.parametrize("act", ACTS)
def test_act(both_sides: tuple[Reads, str, Stage], act: str) -> None:
    reads, actor, sides = both_sides
    native, mirror = sides.native.perform(act), sides.mirror.perform(act)
    if any(row.concerns(actor, act, reads) for row in DIFFERENCES) and not MIRROR_IS_CGROUP2:
        assert mirror != native, "this is in the table of differences, and there is none"
    else:
        assert mirror == native


def test_the_table_names_acts_and_actors_that_exist() -> None:
    assert {act for row in DIFFERENCES for act in row.acts} <= set(ACTS)
    assert {actor for row in DIFFERENCES for actor in row.actors} <= set(ACTORS)


def test_the_readme_shows_the_table_of_differences() -> None:
    readme = Path(__file__).parents[3] / "README.md"
    assert f"\n\n{as_markdown()}\n\n" in readme.read_text(encoding="utf-8")
