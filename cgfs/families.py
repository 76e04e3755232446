"""The text filter `families:inet,inet6`: which address families a socket may have. Pure.

It owns the grammar and the test. The grammar is strict, so that one text has one meaning: names in lower
case, each once, in any order, single commas between, no blanks. An empty list allows none.

The kernel asks the hook of this filter, BPF_CGROUP_INET_SOCK_CREATE, about AF_INET and AF_INET6 sockets and
no others (inet_create() in net/ipv4/af_inet.c, inet6_create() in net/ipv6/af_inet6.c): a list with AF_UNIX in
it would promise what nobody keeps.
"""

import errno
import socket
from collections.abc import Sequence

from cgfs.ebpf import Assembler, Jump, Label, Reg, Size

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
NOT_COVERED = (
    "AF_UNIX, AF_NETLINK, AF_PACKET, AF_XDP and other families never reach this hook",
    "sockets that were made before the filter was set, or elsewhere, and are used here",
)

_PROTOCOLS = {"inet": "IPv4", "inet6": "IPv6"}
_SOCK_FAMILY_OFFSET = 4  # struct bpf_sock in linux/bpf.h


def parse(text: str) -> tuple[str, ...]:
    """The names in *text*. Raises OSError(EINVAL) with what is wrong and what would be right."""
    names = tuple(text.split(",", len(FAMILIES))) if text else ()
    for name in names:
        if name not in FAMILIES:
            raise OSError(
                errno.EINVAL,
                f"families: {name[:40]!r} is not a family that this hook sees: write a list of "
                f"{' and '.join(FAMILIES)} with a comma between and no blanks, or nothing for neither",
            )
    if len(set(names)) < len(names):
        raise OSError(errno.EINVAL, f"families: {text[:40]!r} names a family twice: write each once")
    return names


def emit(assembler: Assembler, names: Sequence[str], passed: Label, dropped: Label) -> None:
    """Go on at *passed* for a socket of one of the families, else at *dropped*. R6 must hold the context."""
    if names:
        assembler.load(Size.W, Reg.R1, Reg.R6, _SOCK_FAMILY_OFFSET)
        for name in names:
            assembler.jump_if32(Jump.EQ, Reg.R1, int(FAMILIES[name]), passed)
    assembler.jump(dropped)


def describe(names: Sequence[str]) -> list[str]:
    """What the filter does, in words."""
    allowed = " and ".join(f"{name} ({_PROTOCOLS[name]})" for name in names)
    refused = " and ".join(f"{name} ({_PROTOCOLS[name]})" for name in FAMILIES if name not in names)
    lines = [f"sockets of {allowed} may be created"] if allowed else []
    if refused:
        lines.append(f"creating a socket of {refused} fails with EPERM")
    if "inet6" in names and "inet" not in names:
        lines.append(
            "an inet6 socket reaches IPv4 too, as ::ffff:192.0.2.1: a packet filter, 'ip6', keeps it from that"
        )
    return lines
