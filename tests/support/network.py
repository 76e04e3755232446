"""Sockets and packets over loopback that say, without guessing, whether a filter let them pass.

A filter goes by the cgroup that a socket was created in, so a socket is made by a child in the cgroup and
handed to the test process (SCM_RIGHTS), where it still belongs to the cgroup: the test sends and receives by
itself. An egress filter that denies makes sendto(2) fail with EPERM. An ingress filter that denies adds one
to the receiving socket's drop counter (SO_MEMINFO): the packet is waited for until it has either arrived or
been counted.
Source: net/core/filter.c (sk_filter_trim_cap), net/ipv4/udp.c, socket(7), unix(7).
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tests.support.child import Child
from tests.support.programs import Hook
from tests.support.users import ROOT, Identity
from tests.support.waiting import until

SO_MEMINFO = 55
_MEMINFO_DROPS = 8

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = (socket.AF_INET, socket.AF_INET6)


def socket_in(
    cgroup: Path | None, family: int, kind: int = socket.SOCK_DGRAM, identity: Identity = ROOT
) -> socket.socket:
    """A socket created by a process in *cgroup* (None: the test process's own). Raises OSError as socket(2)
    did there.

    The caller closes it.
    """
    if cgroup is None:
        return socket.socket(family, kind)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        with Child(cgroup, identity) as child:
            child.call(_create_and_send, theirs.fileno(), int(family), int(kind))
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=descriptors[0])


def _create_and_send(channel_fd: int, family: int, kind: int) -> None:
    channel = socket.socket(fileno=os.dup(channel_fd))
    with channel, socket.socket(family, kind) as created:
        socket.send_fds(channel, [b"s"], [created.fileno()])


def socket_error(cgroup: Path, family: int, kind: int = socket.SOCK_DGRAM, identity: Identity = ROOT) -> int:
    """The errno of socket(2) in *cgroup*, 0 if it succeeds."""
    try:
        socket_in(cgroup, family, kind, identity).close()
    except OSError as error:
        return error.errno or -1
    return 0


def can_create_socket(cgroup: Path, family: int = socket.AF_INET) -> bool:
    """Whether a process in *cgroup* may create a socket; a refusal is EPERM or the test fails."""
    error = socket_error(cgroup, family)
    assert error in (0, errno.EPERM), os.strerror(error)
    return error == 0


def drops(receiver: socket.socket) -> int:
    """How many packets the kernel has dropped at *receiver*."""
    memory = receiver.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64)
    count: int = struct.unpack_from("=I", memory, 4 * _MEMINFO_DROPS)[0]
    return count


class Traffic:
    """Two UDP sockets on loopback, one inside *cgroup* and one of the test process's own cgroup outside it.

    One object can be asked again and again while filters come and go: its sockets were made once.
    """

    def __init__(self, cgroup: Path, family: int = socket.AF_INET) -> None:
        self.inside = socket_in(cgroup, family)
        self.outside = socket_in(None, family)
        self._serial = 0
        for end in (self.inside, self.outside):
            end.bind((LOOPBACK[socket.AddressFamily(family)], 0))
            end.setblocking(False)

    def __enter__(self) -> "Traffic":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside.close()
        self.outside.close()

    def egress_passes(self) -> bool:
        """Whether a packet from inside leaves."""
        return self._passes(self.inside, self.outside)

    def ingress_passes(self) -> bool:
        """Whether a packet from outside comes in."""
        return self._passes(self.outside, self.inside)

    def passes(self) -> tuple[bool, bool]:
        """(ingress, egress)."""
        return self.ingress_passes(), self.egress_passes()

    def _passes(self, sender: socket.socket, receiver: socket.socket) -> bool:
        self._serial += 1
        payload = b"packet %d" % self._serial
        dropped_before = drops(receiver)
        try:
            sender.sendto(payload, receiver.getsockname())
        except PermissionError:
            return False
        fate = until(lambda: _fate(receiver, payload, dropped_before), "a packet has arrived or was dropped")
        return fate == "arrived"


def _fate(receiver: socket.socket, payload: bytes, dropped_before: int) -> str:
    """What became of a packet: "" while nobody knows."""
    with contextlib.suppress(BlockingIOError):
        assert receiver.recv(64) == payload
        return "arrived"
    return "dropped" if drops(receiver) > dropped_before else ""


def passes(cgroup: Path, hook: Hook) -> set[bool]:
    """Whether sockets, or packets, pass the filters of *cgroup* on *hook*: for IPv4 and IPv6."""
    if hook == Hook.SOCKET_CREATE:
        return {can_create_socket(cgroup, family) for family in FAMILIES}
    answers = set()
    for family in FAMILIES:
        with Traffic(cgroup, family) as packets:
            answers.add(packets.ingress_passes() if hook == Hook.INGRESS else packets.egress_passes())
    return answers


@contextlib.contextmanager
def traffic(cgroup: Path) -> Iterator[dict[int, Traffic]]:
    """Traffic for IPv4 and for IPv6, by family."""
    with contextlib.ExitStack() as stack:
        yield {int(family): stack.enter_context(Traffic(cgroup, family)) for family in FAMILIES}


def tcp_exchange(inside: Path | None, family: int = socket.AF_INET) -> bytes:
    """What arrives at a TCP server of the test process when a client in *inside* sends b"hello"."""
    with (
        socket_in(None, family, socket.SOCK_STREAM) as server,
        socket_in(inside, family, socket.SOCK_STREAM) as client,
    ):
        server.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        server.listen(1)
        server.settimeout(30)
        client.settimeout(30)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(30)
            client.sendall(b"hello")
            return accepted.recv(16)
