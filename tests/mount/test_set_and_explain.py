"""Filters by people who write no BPF: `cgfs set`, `cgfs explain`, and the counters of `cgfs show`."""

import hashlib
import json
import os

import pytest

from cgfs import expressions
from tests.mount.conftest import Twin
from tests.support import control
from tests.support.command import assert_refused, called, cgfs, succeed
from tests.support.daemon import cgfs_command
from tests.support.network import FAMILIES, Traffic, can_create_socket
from tests.support.programs import CONTROL_FILE, Hook

EGRESS, SOCKET_CREATE = CONTROL_FILE[Hook.EGRESS], CONTROL_FILE[Hook.SOCKET_CREATE]


def forget(twin: Twin) -> None:
    """Leave no trace of an expression: those of these tests name hosts that nobody else names."""
    text = (twin.mirror / EGRESS).read_text().strip().replace("(nonrecursive)", "")
    (expressions.ROOTS / hashlib.sha256(text.encode()).hexdigest()).unlink()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_an_expression_says_passes_and_all_else_is_dropped(twin: Twin, family: int) -> None:
    with Traffic(twin.native, family) as traffic:
        succeed("set", twin.mirror, "egress", "udp and not host 192.0.2.17")
        assert traffic.egress_passes()
        forget(twin)
        succeed("set", twin.mirror, "egress", "tcp and not host 192.0.2.17")
        assert not traffic.egress_passes()
        forget(twin)
        succeed("set", twin.mirror, "egress", "none")
        assert traffic.egress_passes()


def test_a_nonrecursive_expression_holds_for_the_cgroup_only(twin: Twin) -> None:
    (twin.native / "below").mkdir()
    succeed("set", "--nonrecursive", twin.mirror, "egress", "tcp and not host 192.0.2.18")
    forget(twin)
    assert (twin.mirror / EGRESS).read_text().startswith("cbpf(nonrecursive):")
    with Traffic(twin.native / "below") as below, Traffic(twin.native) as here:
        assert below.egress_passes()
        assert not here.egress_passes()


def test_an_expression_may_be_several_words_as_for_tcpdump(twin: Twin) -> None:
    succeed("set", twin.mirror, "egress", "udp", "port", "1", "--nonrecursive")
    in_words = (twin.mirror / "net.egress_filter").read_text()
    succeed("set", twin.mirror, "egress", "--nonrecursive", "udp port 1")
    assert (twin.mirror / "net.egress_filter").read_text() == in_words != "none\n"


def test_explain_says_the_expression_and_the_instructions(twin: Twin) -> None:
    succeed("set", twin.mirror, "egress", "udp dst port 53 and not host 192.0.2.19")
    explained = succeed("explain", twin.mirror, "egress")
    forget(twin)
    assert "written as: udp dst port 53 and not host 192.0.2.19" in explained
    assert "(000) ldb" in explained
    assert "nobody below can undo it" in explained


def test_explain_says_what_families_cover_and_what_not(twin: Twin) -> None:
    succeed("set", twin.mirror, "socket-create", "inet")
    assert not can_create_socket(twin.native, FAMILIES[1])
    explained = succeed("explain", twin.mirror, "socket-create")
    assert "inet6 (IPv6) fails with EPERM" in explained
    assert "AF_UNIX" in explained


def test_explain_without_a_hook_explains_each(twin: Twin) -> None:
    succeed("set", twin.mirror, "egress", "udp")
    explained = succeed("explain", twin.mirror)
    assert [f", {name}:" in explained for name in CONTROL_FILE.values()] == [True, True, True]
    assert "written as: udp" in explained
    assert "written as: udp" in succeed("show", twin.mirror)
    assert explained.count("no filter is attached here") == 2


def test_explain_lists_the_instructions_of_a_program_and_what_comes_from_above(twin: Twin) -> None:
    (twin.mirror / "below").mkdir()
    with control.filtered(twin.mirror, Hook.SOCKET_CREATE):
        here = succeed("explain", twin.mirror, "socket-create")
        below = succeed("explain", twin.mirror / "below", "socket-create")
    assert "r0 = 0" in here
    assert "nothing is in force from above" in here
    assert "no filter is attached here" in below
    assert f"in force from /{twin.native.name}:" in below


def test_show_counts_what_a_text_filter_has_let_through_and_what_not(twin: Twin) -> None:
    (twin.mirror / SOCKET_CREATE).write_text("families:inet")
    assert can_create_socket(twin.native, FAMILIES[0])
    assert not can_create_socket(twin.native, FAMILIES[1])
    shown = json.loads(succeed("show", "--json", twin.mirror))
    row = next(each for each in shown["filters"] if each["file"] == SOCKET_CREATE)
    assert row["in_force"][0]["counters"] == {"passed": 1, "dropped": 1}
    assert "not covered: AF_UNIX" in succeed("show", twin.mirror)


@pytest.mark.parametrize(
    ("hook", "expression", "says"),
    [
        ("egress", "no such language (", "libpcap"),
        ("egress", "", "tcpdump"),
        ("socket-create", "unix", "inet"),
        ("socket-create", "inet,inet", "inet"),
    ],
)
def test_what_is_no_expression_is_refused_in_words(twin: Twin, hook: str, expression: str, says: str) -> None:
    assert_refused(cgfs("set", twin.mirror, hook, expression), says)
    assert (twin.mirror / EGRESS).read_text() == "none\n"


def test_a_line_of_the_file_with_a_mode_is_a_wrong_command_line(twin: Twin) -> None:
    done = cgfs("set", twin.mirror, "socket-create", "families(nonrecursive):inet")
    assert done.returncode == 2
    assert "--nonrecursive" in done.stderr


def test_who_has_no_home_sets_and_explains_a_filter(twin: Twin) -> None:
    nobody = ["setpriv", "--reuid=2000000000", "--clear-groups", "env", "-u", "HOME", "-u", "XDG_STATE_HOME"]
    os.chown(twin.mirror / EGRESS, 2000000000, 0)
    done = called([*nobody, *cgfs_command(), "set", str(twin.mirror), "egress", "udp and not host 192.0.2.23"])
    assert (done.returncode, done.stderr) == (0, ""), done
    done = called([*nobody, *cgfs_command(), "explain", str(twin.mirror), "egress"])
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "(000) ldb" in done.stdout


def test_a_filter_is_set_on_a_mirror_only(twin: Twin) -> None:
    assert_refused(cgfs("set", twin.native, "egress", "tcp"), str(twin.mirror))
