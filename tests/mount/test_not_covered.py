"""What the documentation says that a filter does not cover is so, on this kernel, and no less is said than is so."""

import socket

import pytest

from tests.mount.conftest import Twin
from tests.support.child import Child
from tests.support.command import succeed
from tests.support.network import Traffic, socket_error, socket_in
from tests.support.programs import CONTROL_FILE, Hook
from tests.support.users import ALICE

SOCKET_CREATE = CONTROL_FILE[Hook.SOCKET_CREATE]
LOOPBACK = socket.inet_pton(socket.AF_INET6, "::1")
ROUTE = bytes([0, 2, 4, 0, 0, 0, 0, 0]) + LOOPBACK  # RFC 8754: a routing header, whose only segment is left behind
NOTHING_PASSES = "cbpf:1,6 0 0 0"


def test_a_list_of_families_does_not_reach_sockets_that_are_there(twin: Twin) -> None:
    with Traffic(twin.native) as packets:
        (twin.mirror / SOCKET_CREATE).write_text("families:")
        assert socket_error(twin.native, socket.AF_INET)
        assert packets.passes() == (True, True)
    assert "made before" in succeed("explain", twin.mirror, "socket-create")


def send(fd: int, to: tuple[str, int]) -> None:
    with socket.socket(fileno=fd) as sender:
        sender.sendto(b"x", to)


def send_by_a_route(fd: int, to: tuple[str, int]) -> None:
    with socket.socket(fileno=fd) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, ROUTE)
        sender.sendto(b"x", to)


def test_a_socket_stays_in_the_cgroup_that_it_was_made_in(twin: Twin) -> None:
    (twin.mirror / CONTROL_FILE[Hook.EGRESS]).write_text(NOTHING_PASSES)
    with Traffic(twin.native) as packets, socket_in(None, socket.AF_INET) as made_outside:
        with Child(twin.native) as inside:
            inside.call(send, made_outside.fileno(), packets.outside.getsockname())
            with pytest.raises(PermissionError):
                inside.call(send, packets.inside.fileno(), packets.outside.getsockname())
        assert packets.outside.recv(16) == b"x"
    assert "stays in the cgroup" in succeed("explain", twin.mirror, "egress")


def test_an_inet6_socket_reaches_ipv4_unless_a_packet_filter_keeps_it_from_that(twin: Twin) -> None:
    (twin.mirror / SOCKET_CREATE).write_text("families:inet6")
    assert socket_error(twin.native, socket.AF_INET)
    with socket_in(twin.native, socket.AF_INET6) as sender, socket_in(None, socket.AF_INET) as receiver:
        receiver.bind(("127.0.0.1", 0))
        mapped = ("::ffff:127.0.0.1", receiver.getsockname()[1])
        sender.sendto(b"x", mapped)
        assert receiver.recv(16) == b"x"
        succeed("set", twin.mirror, "egress", "ip6")
        with pytest.raises(PermissionError):
            sender.sendto(b"x", mapped)
    assert "::ffff:" in succeed("explain", twin.mirror, "socket-create")


def test_tcpdumps_words_do_not_look_behind_an_extension_header(twin: Twin) -> None:
    with Traffic(twin.native, socket.AF_INET6) as packets:
        succeed("set", twin.mirror, "egress", "not udp")
        assert not packets.egress_passes()
        with Child(identity=ALICE) as unprivileged:
            unprivileged.call(send_by_a_route, packets.inside.fileno(), packets.outside.getsockname())
        succeed("set", twin.mirror, "egress", "tcp")
        assert not packets.egress_passes()
    assert "extension headers" in succeed("explain", twin.mirror, "egress")
