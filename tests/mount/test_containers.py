"""Real runtimes: crun and runc with the mirror's subtree bound into the container, podman, and the README's commands.

cgfs-test-N/         the host's: a filter that denies sockets
  box/               the container's cgroup, its root; bound into it from the mirror
    sub/             made inside; a filter that allows
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import control, programs
from tests.support.cgroups import remove_cgroup, temporary_cgroup
from tests.support.daemon import Overlay
from tests.support.places import public_directory
from tests.support.programs import ALLOW, CONTROL_FILE, DENY, Hook
from tests.support.runtimes import Bundle, bind, controllers_put_back, podman_environment, run_with_cgroup2_alone
from tests.support.users import CONTAINER_ROOT_ID, delegate

README = Path(__file__).parents[2] / "README.md"

INSIDE = """
set -e
cd {place}
id -u
cat net.socket_create_filter
cat cgroup.procs > /dev/null
mkdir sub
cat sub/net.socket_create_filter
sleep 1000 &
echo $! > sub/cgroup.procs
[ "$(cat sub/cgroup.procs)" = $! ] && echo moved the child
kill $!
wait || :
echo 0 > sub/cgroup.procs
grep ^0:: /proc/self/cgroup
echo 5 > sub/cgroup.max.depth
cat sub/cgroup.max.depth
echo families:inet,inet6 > sub/net.socket_create_filter
cat sub/net.socket_create_filter
nc -w 1 127.0.0.1 9 2>&1 || :
echo none > sub/net.socket_create_filter
cat sub/net.socket_create_filter
"""
SAID = ["0", "none", "none", "moved the child", "0::/sub", "5", "families:inet,inet6", "{nc}", "none"]


@pytest.fixture(scope="module")
def bundle() -> Iterator[Bundle]:
    with controllers_put_back():
        yield Bundle.create(public_directory() / "bundle")


@pytest.fixture
def box(bundle: Bundle) -> Iterator[Path]:
    """The container's cgroup, on cgroup2."""
    with temporary_cgroup() as top:
        (top / "box").mkdir()
        yield top / "box"


@pytest.mark.parametrize("place", ["/sys/fs/cgroup", "/cgfs"])
@pytest.mark.parametrize("user_namespace", [False, True], ids=["host's users", "user namespace"])
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_container_uses_its_subtree_and_gains_nothing_by_an_allow_below_a_deny(
    overlay: Overlay, bundle: Bundle, box: Path, runtime: str, user_namespace: bool, place: str
) -> None:
    if user_namespace:
        delegate(box, CONTAINER_ROOT_ID, CONTAINER_ROOT_ID)
    source = f"/run/cgfs/{box.parent.name}/box"
    cgroup = f"/{box.parent.name}/box"
    bundle.configure(cgroup, INSIDE.format(place=place), [bind(source, place)], user_namespace=user_namespace)
    with control.filtered(overlay.path(box.parent), Hook.SOCKET_CREATE, DENY):
        said = run_runtime(runtime, bundle, overlay)
    assert said == [line.format(nc="nc: socket: Operation not permitted") for line in SAID]


def run_runtime(runtime: str, bundle: Bundle, overlay: Overlay) -> list[str]:
    state = bundle.path.with_name("state")
    done = run_with_cgroup2_alone(
        [runtime, "--root", state, "run", "--bundle", bundle.path, "cgfs-box"], overlay.mountpoint
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_without_a_deny_above_the_same_container_has_sockets(overlay: Overlay, bundle: Bundle, box: Path) -> None:
    """So that the refusal above is the filter's work."""
    source = f"/run/cgfs/{box.parent.name}/box"
    script = INSIDE.format(place="/cgfs")
    bundle.configure(f"/{box.parent.name}/box", script, [bind(source, "/cgfs")], user_namespace=False)
    said = run_runtime("crun", bundle, overlay)
    assert said[-2].startswith("nc: can't connect to remote host (127.0.0.1)")
    assert said[:-2] + said[-1:] == [line for line in SAID if line != "{nc}"]


def test_a_user_namespace_cannot_change_its_own_filters(overlay: Overlay, bundle: Bundle, box: Path) -> None:
    delegate(box, CONTAINER_ROOT_ID, CONTAINER_ROOT_ID)
    source = f"/run/cgfs/{box.parent.name}/box"
    script = "cat /cgfs/net.egress_filter; echo none > /cgfs/net.egress_filter; cat /cgfs/net.egress_filter"
    bundle.configure(f"/{box.parent.name}/box", script, [bind(source, "/cgfs")], user_namespace=True)
    with programs.program(Hook.EGRESS, ALLOW) as allowing:
        control.attach(overlay.path(box) / CONTROL_FILE[Hook.EGRESS], allowing)  # it goes with the cgroup
        said = run_runtime("crun", bundle, overlay)
        assert said[0] == said[2] == control.shown(allowing).strip()
        assert "Permission denied" in said[1]


def in_a_container_section() -> str:
    text = README.read_text(encoding="utf-8")
    return text.partition("## In a container")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README's section, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", in_a_container_section(), flags=re.DOTALL)


@pytest.fixture
def readme_cgroups(cgroup2: Path) -> Iterator[None]:
    """The cgroups that the README's commands make."""
    yield
    for name in ("cgfs-box", "cgfs-pod"):
        remove_cgroup(cgroup2 / name)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_the_commands_of_the_readme_for(
    overlay: Overlay, bundle: Bundle, cgroup2: Path, readme_cgroups: None, runtime: str
) -> None:
    (commands,) = (block for block in blocks("sh") if f"\n{runtime} run" in block)
    (excerpt,) = blocks("json")
    wanted = json.loads(excerpt)
    script = "cat /sys/fs/cgroup/net.egress_filter; mkdir /sys/fs/cgroup/inner; ls -d /sys/fs/cgroup/inner"
    bundle.configure(wanted["linux"]["cgroupsPath"], script, wanted["mounts"], user_namespace=False)
    done = run_with_cgroup2_alone(["sh", "-ec", commands], overlay.mountpoint, cwd=bundle.path)
    assert (done.returncode, done.stdout) == (0, "none\n/sys/fs/cgroup/inner\n"), done.stdout


def test_the_commands_of_the_readme_for_podman(overlay: Overlay, bundle: Bundle, readme_cgroups: None) -> None:
    directory = public_directory()
    environment = podman_environment(directory)
    bundle.tar(directory / "image.tar")
    (commands,) = (block for block in blocks("sh") if "podman " in block)
    load = f"podman import --quiet {directory}/image.tar cgfs-image > /dev/null\n"
    done = run_with_cgroup2_alone(["sh", "-ec", load + commands], overlay.mountpoint, environment=environment)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-2:] == ["0::/", "none"], done.stdout


def test_a_foreign_deny_holds_inside(overlay: Overlay, bundle: Bundle, box: Path) -> None:
    """Also one that was attached by bpf(2), which cgfs knows nothing of."""
    script = "nc -w 1 127.0.0.1 9 2>&1 || :"
    source = f"/run/cgfs/{box.parent.name}/box"
    bundle.configure(f"/{box.parent.name}/box", script, [bind(source, "/cgfs")], user_namespace=False)
    with programs.program(Hook.SOCKET_CREATE, DENY) as denying:
        programs.attach(box.parent, denying, Hook.SOCKET_CREATE)
        assert run_runtime("runc", bundle, overlay) == ["nc: socket: Operation not permitted"]
