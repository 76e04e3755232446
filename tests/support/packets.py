"""IP packets made by hand, from the IP header on. Checksums are 0: no filter looks at them.

Source: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443.
"""

import ipaddress
import struct
from enum import IntEnum


class Protocol(IntEnum):
    ICMP = 1
    TCP = 6
    UDP = 17
    FRAGMENT = 44
    ICMPV6 = 58


def ipv4(
    protocol: int,
    payload: bytes,
    *,
    source: str = "192.0.2.1",
    destination: str = "192.0.2.2",
    options: bytes = b"",
    fragment_offset: int = 0,
    more_fragments: bool = False,
) -> bytes:
    """*options* of whole words; *fragment_offset* in 8 bytes."""
    words = 5 + len(options) // 4
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | words,
        0,
        words * 4 + len(payload),
        1,
        more_fragments << 13 | fragment_offset,
        64,
        protocol,
        0,
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address(destination).packed,
    )
    return header + options + payload


def ipv6(next_header: int, payload: bytes, *, source: str = "2001:db8::1", destination: str = "2001:db8::2") -> bytes:
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return struct.pack(">IHBB", 0x60000000, len(payload), next_header, 64) + addresses + payload


def ipv6_fragment(next_header: int, payload: bytes, *, fragment_offset: int) -> bytes:
    """A later fragment of an IPv6 packet; *fragment_offset* in 8 bytes."""
    return ipv6(Protocol.FRAGMENT, struct.pack(">BBHI", next_header, 0, fragment_offset << 3, 1) + payload)


def tcp(source: int, destination: int, flags: int = 0x10, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", source, destination, 1, 1, 0x50, flags, 1024, 0, 0) + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def icmp(kind: int = 8) -> bytes:
    return struct.pack(">BBHHH", kind, 0, 0, 1, 1)
