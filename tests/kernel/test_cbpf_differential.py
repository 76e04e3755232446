"""The translation of classic BPF, against the kernel's own classic filter: same program, same packet, same
verdict.

No expectation here is computed from a model of classic BPF: the kernel is asked. The seeds are fixed.
"""

import itertools
import os
import random
import struct
from collections.abc import Sequence

import pytest

from cgfs import cbpf, pcap
from cgfs.cbpf import Op
from tests.support import classic
from tests.support.classic import Line, random_program
from tests.support.packets import Protocol, icmp, ipv4, ipv6, ipv6_fragment, tcp, udp

DROP, PASS = Line(Op.RET_K, 0, 0, 0), Line(Op.RET_K, 0, 0, 1)


def verdicts(program: Sequence[Line], packets: Sequence[bytes]) -> list[bool]:
    """What both say."""
    kernels = classic.kernel_verdicts(program, packets)
    translated = classic.translated_verdicts(cbpf.parse(classic.text(program)), packets)
    differing = [packet.hex() for packet, *both in zip(packets, kernels, translated, strict=True) if both[0] != both[1]]
    assert not differing, f"cbpf:{classic.text(program)} differs for these packets"
    return kernels


def is_accepted(program: Sequence[Line]) -> bool:
    try:
        cbpf.parse(classic.text(program))
    except OSError:
        return False
    return True


PACKETS = {
    "tcp4-443": ipv4(Protocol.TCP, tcp(40000, 443)),
    "tcp4-443-syn": ipv4(Protocol.TCP, tcp(40000, 443, flags=0x02)),
    "tcp4-443-options": ipv4(Protocol.TCP, tcp(40000, 443), options=bytes(8)),
    "tcp4-from-443": ipv4(Protocol.TCP, tcp(443, 40000)),
    "udp4-53": ipv4(Protocol.UDP, udp(40000, 53, b"query")),
    "udp4-53-net10": ipv4(Protocol.UDP, udp(40000, 53), destination="10.1.2.3"),
    "udp4-first": ipv4(Protocol.UDP, udp(40000, 53, bytes(8)), more_fragments=True),
    "udp4-later": ipv4(Protocol.UDP, udp(40000, 53, bytes(8)), fragment_offset=3),
    "icmp4": ipv4(Protocol.ICMP, icmp()),
    "tcp6-443": ipv6(Protocol.TCP, tcp(40000, 443)),
    "udp6-53": ipv6(Protocol.UDP, udp(40000, 53)),
    "udp6-later": ipv6_fragment(Protocol.UDP, udp(40000, 53), fragment_offset=3),
    "icmp6": ipv6(Protocol.ICMPV6, icmp(128)),
    "icmp6-elsewhere": ipv6(Protocol.ICMPV6, icmp(128), source="fe80::1", destination="ff02::1"),
    "version5": b"\x55" + bytes(39),
}

EXPRESSIONS = {
    "tcp dst port 443 or udp port 53": (
        "tcp4-443 tcp4-443-syn tcp4-443-options udp4-53 udp4-53-net10 udp4-first tcp6-443 udp6-53"
    ),
    "ip6": "tcp6-443 udp6-53 udp6-later icmp6 icmp6-elsewhere",
    "icmp": "icmp4",
    "icmp6": "icmp6 icmp6-elsewhere",
    "net 10.0.0.0/8": "udp4-53-net10",
    "ip and not net 192.0.2.0/24": "",
    "dst net 2001:db8::/32": "tcp6-443 udp6-53 udp6-later icmp6",
    "tcp[tcpflags] & tcp-syn != 0": "tcp4-443-syn",
    "ip[6:2] & 0x1fff != 0": "udp4-later",
    "ip[0] & 0xf > 5": "tcp4-443-options",
    "src portrange 400-500": "tcp4-from-443",
    "udp and greater 40": "udp6-53 udp6-later",
    "(ip[2:2] % 7) * 3 - 1 == 17": "tcp4-443-options",
}


@pytest.mark.parametrize(("expression", "passing"), EXPRESSIONS.items())
def test_an_expression_lets_the_right_packets_pass(expression: str, passing: str) -> None:
    program = classic.lines(pcap.compile_expression(expression))
    passed = verdicts(program, list(PACKETS.values()))
    assert " ".join(itertools.compress(PACKETS, passed)) == passing


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_truncated_packet_is_judged_as_by_the_kernel(expression: str) -> None:
    program = classic.lines(pcap.compile_expression(expression))
    verdicts(program, [packet[:length] for packet in PACKETS.values() for length in range(1, len(packet))])


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_agree_on_random_packets(seed: int) -> None:
    source = random.Random(seed)
    accepted = refused = passed = dropped = 0
    for _ in range(600):
        program = random_program(source)
        if not classic.kernel_accepts(program):
            assert not is_accepted(program), classic.text(program)
            refused += 1
            continue
        packets = [source.randbytes(source.choice((1, 2, 3, 4, 5, 8, 20, 21, 40, 64))) for _ in range(6)]
        found = verdicts(program, packets)
        accepted += 1
        passed += sum(found)
        dropped += len(found) - sum(found)
    assert min(accepted, refused, passed, dropped) > 100, "the generated programs are no fair sample"


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_agree_on_real_packets(seed: int) -> None:
    source = random.Random(f"real {seed}")
    for _ in range(200):
        program = random_program(source)
        if is_accepted(program):
            verdicts(program, list(PACKETS.values()))


EDGES = (0, 1, 2, 3, 31, 32, 33, 63, 255, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF)
ALU = [op for op in Op if op & 0x07 == 0x04 and op != Op.NEG]


def guesses(a: int, x: int) -> set[int]:
    """Numbers that the result of an operation on *a* and *x* may be; which one it is, the kernel says."""
    shift = x % 32
    found = {a + x, a - x, a * x, a | x, a & x, a ^ x, a << shift, a >> shift, -a, 0, a, 1}
    if x:
        found |= {a // x, a % x}
    return {guess & 0xFFFFFFFF for guess in found}


@pytest.mark.parametrize("op", ALU, ids=lambda op: op.name)
def test_arithmetic_gives_the_kernels_numbers(op: Op) -> None:
    """Each packet holds A, X and a guess of the result, and passes if the guess is right."""
    from_x = bool(op & 0x08)
    for x in EDGES:
        program = [
            Line(Op.LD_W_ABS, 0, 0, 4), Line(Op.TAX, 0, 0, 0), Line(Op.LD_W_ABS, 0, 0, 0),
            Line(op, 0, 0, 0 if from_x else x), Line(Op.ST, 0, 0, 7), Line(Op.LD_W_ABS, 0, 0, 8),
            Line(Op.TAX, 0, 0, 0), Line(Op.LD_MEM, 0, 0, 7), Line(Op.JEQ_X, 0, 1, 0), PASS, DROP,
        ]  # fmt: skip
        if not is_accepted(program):
            assert not classic.kernel_accepts(program)
            continue
        for a in EDGES:
            packets = [struct.pack(">III", a, x, guess) for guess in sorted(guesses(a, x))]
            divides_by_zero = op in (Op.DIV_X, Op.MOD_X) and x == 0
            assert sum(verdicts(program, packets)) == (0 if divides_by_zero else 1), (op, a, x)


def test_negation_gives_the_kernels_numbers() -> None:
    program = [
        Line(Op.LD_W_ABS, 0, 0, 4), Line(Op.TAX, 0, 0, 0), Line(Op.LD_W_ABS, 0, 0, 0), Line(Op.NEG, 0, 0, 0),
        Line(Op.JEQ_X, 0, 1, 0), PASS, DROP,
    ]  # fmt: skip
    packets = [struct.pack(">II", a, guess) for a in EDGES for guess in sorted(guesses(a, 0))]
    assert sum(verdicts(program, packets)) == len(EDGES)


CONDITIONS = [op for op in Op if op in cbpf.CONDITIONAL]


@pytest.mark.parametrize("op", CONDITIONS, ids=lambda op: op.name)
def test_conditions_decide_as_the_kernel_does(op: Op) -> None:
    packets = [struct.pack(">II", a, x) for a in EDGES for x in EDGES]
    for k in (0,) if op & 0x08 else EDGES:
        for jt, jf in ((0, 1), (1, 0), (1, 1), (0, 0)):
            program = [
                Line(Op.LD_W_ABS, 0, 0, 4), Line(Op.TAX, 0, 0, 0), Line(Op.LD_W_ABS, 0, 0, 0),
                Line(op, jt, jf, k), PASS, DROP,
            ]  # fmt: skip
            verdicts(program, packets)


LOADS = {Op.LD_W_ABS: 4, Op.LD_H_ABS: 2, Op.LD_B_ABS: 1, Op.LDX_MSH: 1}


@pytest.mark.parametrize("op", LOADS, ids=lambda op: op.name)
def test_a_load_beyond_the_packet_drops_it(op: Op) -> None:
    packet = bytes(range(1, 41))
    for k in (*range(42), 1000, 0xFFFF, 0x10000, 0x7FFFFFFF):
        passed = verdicts([Line(op, 0, 0, k), PASS], [packet])
        assert passed == [k + LOADS[op] <= len(packet)], k


@pytest.mark.parametrize("op", [Op.LD_W_IND, Op.LD_H_IND, Op.LD_B_IND], ids=lambda op: op.name)
@pytest.mark.parametrize("x", [0, 1, 17, 36, 40, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFF0])
def test_an_indirect_load_adds_in_32_bits(op: Op, x: int) -> None:
    packet = bytes(range(1, 41))
    for k in (0, 1, 2, 3, 4, 20, 38, 40, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF):
        program = [
            Line(Op.LDX_IMM, 0, 0, x),
            Line(op, 0, 0, k),
            Line(Op.SUB_K, 0, 0, packet[3]),
            Line(Op.RET_A, 0, 0, 0),
        ]
        verdicts(program, [packet, packet[:3]])


def test_the_length_is_that_of_the_packet_from_the_ip_header_on() -> None:
    for op in (Op.LD_LEN, Op.LDX_LEN):
        program = [Line(op, 0, 0, 0), *([Line(Op.TXA, 0, 0, 0)] if op == Op.LDX_LEN else [])]
        program += [Line(Op.JEQ_K, 0, 1, 40), PASS, DROP]
        assert verdicts(program, [bytes(39), bytes(40), bytes(41)]) == [False, True, False]


def test_linux_extensions_by_an_indirect_load_are_outside_the_packet() -> None:
    """Where a socket's filter would find the network header (SKF_NET_OFF), a cgroup's finds nothing."""
    for extension in (0xFFF00000, 0xFFE00000, 0xFFFFF000, 0x80000000):
        program = [Line(Op.LDX_IMM, 0, 0, extension), Line(Op.LD_B_IND, 0, 0, 0), PASS]
        assert classic.translated_verdicts(cbpf.parse(classic.text(program)), [bytes(40)]) == [False]


def test_every_slot_of_memory_keeps_its_own() -> None:
    program = [line for slot in range(16) for line in (Line(Op.LD_B_ABS, 0, 0, slot), Line(Op.ST, 0, 0, slot))]
    for slot in range(16):
        program += [
            Line(Op.LDX_MEM, 0, 0, slot),
            Line(Op.LD_B_ABS, 0, 0, slot),
            Line(Op.JEQ_X, 1, 0, 0),
            DROP,
        ]
    program.append(PASS)
    assert verdicts(program, [bytes(range(16)), bytes(range(100, 116))]) == [True, True]


def hostile(kind: str, size: int) -> list[Line]:
    """Programs on which a verifier that followed each way through would never end."""
    body: list[Line] = []
    for index in range(size):
        match kind:
            case "sums":  # each way through leaves another number in X
                body += [
                    Line(Op.LD_B_ABS, 0, 0, index % 40),
                    Line(Op.JGT_K, 0, 3, 100),
                    Line(Op.TXA, 0, 0, 0),
                ]
                body += [Line(Op.ADD_K, 0, 0, 1 << index % 32), Line(Op.TAX, 0, 0, 0)]
            case "ranges":  # each way through knows something else about each of 16 bytes
                slot = index % 16
                body += [Line(Op.LD_B_ABS, 0, 0, slot), Line(Op.ST, 0, 0, slot)] if index < 16 else []
                body += [Line(Op.LD_MEM, 0, 0, slot), Line(Op.JGT_K, 0, 2, 100 + index // 16)]
                body += [Line(Op.ADD_K, 0, 0, 1), Line(Op.ST, 0, 0, slot)]
            case "branches":
                body += [Line(Op.LD_B_ABS, 0, 0, 0)] if index == 0 else []
                body += [Line(Op.JEQ_K, index % 2, 0, index)]
            case "loads":
                body += [Line(Op.LD_W_ABS, 0, 0, index % 37)]
            case "divisions":
                body += [Line(Op.LD_W_ABS, 0, 0, 0), Line(Op.TAX, 0, 0, 0)] if index == 0 else []
                body += [Line(Op.DIV_X, 0, 0, 0)]
            case "lengths":
                body += [Line(Op.LD_LEN, 0, 0, 0), Line(Op.JGT_X, 0, 0, 0)]
    if kind == "sums":
        body += [Line(Op.TXA, 0, 0, 0), Line(Op.JEQ_K, 0, 1, 12345), PASS]
    return [*body, Line(Op.JGT_K, 0, 1, 7), PASS, DROP]


HOSTILE = {"sums": 5, "ranges": 4, "branches": 1, "loads": 1, "divisions": 1, "lengths": 2}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_program_agrees(kind: str) -> None:
    """Short, since what a classic filter may take of memory is limited (net.core.optmem_max)."""
    source = random.Random(kind)
    verdicts(hostile(kind, 140 // HOSTILE[kind]), [source.randbytes(40) for _ in range(20)])


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_program_of_4096_instructions_loads(kind: str) -> None:
    """The kernel's verifier gives up after a million steps and some seconds; here it takes few for each."""
    program = hostile(kind, 4050 // HOSTILE[kind])
    assert 3900 < len(program) <= cbpf.MAX_INSTRUCTIONS
    fd = classic.load_translation(cbpf.parse(classic.text(program)))
    try:
        assert classic.steps_of_the_verifier(fd) < 20 * len(program)
    finally:
        os.close(fd)


def test_a_jump_over_nearly_all_of_4096_instructions_works() -> None:
    loads = [Line(Op.LD_W_ABS, 0, 0, 0)] * 4090
    program = [
        Line(Op.LD_B_ABS, 0, 0, 0),
        Line(Op.JEQ_K, 0, 1, 7),
        Line(Op.JA, 0, 0, 4091),
        *loads,
        DROP,
        PASS,
    ]
    parsed = cbpf.parse(classic.text(program))
    assert classic.translated_verdicts(parsed, [b"\x07\0\0\0", b"\x08\0\0\0", b"\x07"]) == [True, False, True]
