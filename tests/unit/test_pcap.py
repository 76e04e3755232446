"""tcpdump's language, compiled by libpcap for packets that begin at the IP header."""

import errno

import pytest

from cgfs import cbpf, pcap


def test_an_expression_becomes_a_program_for_bare_ip_packets() -> None:
    program = pcap.compile_expression("ip6")
    assert cbpf.format_program(program) == "5,48 0 0 0,84 0 0 240,21 0 1 96,6 0 0 262144,6 0 0 0"


@pytest.mark.parametrize(
    "expression",
    [
        "tcp dst port 443 or udp port 53",
        "icmp",
        "icmp6",
        "net 10.0.0.0/8 and not host 10.0.0.1",
        "greater 1000",
        "ip[6:2] & 0x1fff != 0",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "portrange 1000-2000",
        "ip6 proto 58",
        "(tcp or udp) and dst port 80",
        "net 2001:db8::/32",
        "ip[2:2] / 2 % 3 == 1",
        "proto 6",
    ],
)
def test_what_libpcap_makes_is_a_program_that_the_daemon_takes(expression: str) -> None:
    program = pcap.compile_expression(expression)
    assert cbpf.parse(cbpf.format_program(program)) == program


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("foo bar", "syntax error"),
        ("tcp dst port", "syntax error"),
        ("ether host 1:2:3:4:5:6", "ethernet addresses"),
        ("vlan 3", "no VLAN support"),
        ("ip broadcast", "netmask not known"),
        ("inbound", "cannot be a cgroup's filter"),
        ("tcp and udp", "rejects all packets"),
        ("tcp dst port \udcff", "syntax error"),
        ("", "no expression"),
        (" \n", "no expression"),
        ("tcp\0 or udp", "no expression"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason) as caught:
        pcap.compile_expression(expression)
    assert caught.value.errno == errno.EINVAL


def test_an_expression_that_takes_too_much_is_refused_with_how_much() -> None:
    expression = " or ".join(f"net 10.{number // 200}.{number % 200}.0/24" for number in range(1200))
    with pytest.raises(OSError, match=r"takes \d+ instructions, and a filter has at most 4096") as caught:
        pcap.compile_expression(expression)
    assert caught.value.errno == errno.E2BIG
    assert len(str(caught.value)) < 300


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcap, "_LIBRARIES", ("libpcap.so.nowhere",))
    pcap._libpcap.cache_clear()
    try:
        with pytest.raises(OSError, match=r"apt install libpcap0\.8") as caught:
            pcap.compile_expression("ip")
        assert caught.value.errno == errno.ELIBACC
    finally:
        pcap._libpcap.cache_clear()
