"""Classic BPF programs judged by the kernel: the reference, and its verdict on what cgfs makes of them.

The reference is the kernel's own classic filter on a datagram socket pair of AF_UNIX: it is given the
datagram as its packet, and what it returns is how much of it arrives (net/unix/af_unix.c, net/core/filter.c).
cgfs's translation runs by BPF_PROG_TEST_RUN on the same bytes: for cgroup_skb an Ethernet header goes before
them, which the program does not see (net/bpf/test_run.c).
"""

import contextlib
import ctypes
import errno
import os
import random
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cgfs.cbpf import CONDITIONAL, RETURNS, Op, Program
from cgfs.cbpf_translate import translate
from cgfs.ebpf import Alu, Assembler, Label, Reg
from tests.support.programs import Hook, bpf, load_instructions

SO_ATTACH_FILTER = 26
_BPF_PROG_TEST_RUN = 10
_CGROUP_SKB = 8
# An EtherType of nobody (IEEE's for experiments): of ETH_P_IP the kernel demands a whole header.
_ETHERNET_HEADER = bytes(12) + b"\x88\xb5"


class Line(NamedTuple):
    """One instruction, valid or not."""

    code: int
    jt: int
    jf: int
    k: int


def text(lines: Sequence[Line]) -> str:
    """What stands behind `cbpf:`."""
    return ",".join((str(len(lines)), *("{} {} {} {}".format(*line) for line in lines)))


def lines(program: Program) -> list[Line]:
    return [Line(insn.op.value, insn.jt, insn.jf, insn.k) for insn in program]


@contextlib.contextmanager
def filtered_pair(program: Sequence[Line]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sender, and a receiver with *program* as its filter. Raises OSError(EINVAL) for a program that is
    none.
    """
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        code = b"".join(struct.pack("=HBBI", *line) for line in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        filter_program = struct.pack("@HP", len(program), ctypes.addressof(buffer))
        receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_program)
        yield sender, receiver


def kernel_accepts(program: Sequence[Line]) -> bool:
    """Whether the kernel takes *program* for a classic one."""
    try:
        with filtered_pair(program):
            return True
    except OSError as error:
        assert error.errno == errno.EINVAL, error
        return False


def kernel_verdicts(program: Sequence[Line], packets: Iterable[bytes]) -> list[bool]:
    """Which *packets* (none is empty) *program* lets pass, by the kernel's own classic filter."""
    with filtered_pair(program) as (sender, receiver):
        return [_arrives(sender, receiver, packet) for packet in packets]


def _arrives(sender: socket.socket, receiver: socket.socket, packet: bytes) -> bool:
    sender.send(packet)
    try:
        receiver.recv(1, socket.MSG_DONTWAIT)  # the datagram is queued, or dropped, before send() returns
    except BlockingIOError:
        return False
    return True


def load_translation(program: Program) -> int:
    """The descriptor of *program* translated and loaded: passed is 1, dropped is 0."""
    assembler, passed, dropped = Assembler(), Label(), Label()
    assembler.copy(Reg.R6, Reg.R1)
    translate(assembler, program, passed, dropped)
    for label, verdict in ((passed, 1), (dropped, 0)):
        if label.used:
            assembler.place(label)
            assembler.alu32(Alu.MOV, Reg.R0, verdict)
            assembler.exit()
    return load_instructions(_CGROUP_SKB, assembler.finish().with_maps({}), Hook.INGRESS)


def steps_of_the_verifier(prog_fd: int) -> int:
    """How many instructions the verifier went through for the program open as *prog_fd* (borrowed)."""
    for line in Path(f"/proc/self/fdinfo/{prog_fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "verified_insns":
            return int(value)
    raise AssertionError("the kernel does not say")


def verdict(prog_fd: int, packet: bytes) -> int:
    """What the cgroup_skb program open as *prog_fd* (borrowed) returns for *packet*, which begins at the IP
    header.
    """
    data = _ETHERNET_HEADER + packet
    buffer = ctypes.create_string_buffer(data, len(data))
    test = struct.pack("=IIIIQQII", prog_fd, 0, len(data), 0, ctypes.addressof(buffer), 0, 1, 0)
    _, answer = bpf(_BPF_PROG_TEST_RUN, test)
    returned: int = struct.unpack_from("=I", answer, 4)[0]
    return returned


def translated_verdicts(program: Program, packets: Iterable[bytes]) -> list[bool]:
    """Which *packets* the translation of *program* lets pass."""
    fd = load_translation(program)
    try:
        return [{0: False, 1: True}[verdict(fd, packet)] for packet in packets]
    finally:
        os.close(fd)


_LOADS = (Op.LD_W_ABS, Op.LD_H_ABS, Op.LD_B_ABS, Op.LDX_MSH)
_MEMORY = (Op.LD_MEM, Op.LDX_MEM, Op.ST, Op.STX)
_CONSTANTS = (0, 1, 2, 3, 4, 8, 9, 12, 20, 0x45, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def random_program(source: random.Random) -> list[Line]:
    """A program of 2 to 30 instructions, which the kernel accepts in two cases of three."""
    length = source.randrange(2, 31)
    body = [_random_line(source, length - 2 - index) for index in range(length - 1)]
    if source.random() < 0.05:
        return [*body, Line(source.choice((Op.LD_IMM, Op.JA, 0x0E, 0xFFFF)), 0, 0, 0)]
    return [*body, source.choice((Line(Op.RET_K, 0, 0, 0), Line(Op.RET_K, 0, 0, 9), Line(Op.RET_A, 0, 0, 0)))]


def _random_line(source: random.Random, room: int) -> Line:
    """An instruction behind which *room* more stand before the last."""
    op = source.choice(tuple(Op))
    if op in RETURNS and source.random() < 0.7:
        op = Op.LD_B_ABS
    k = source.choice((*_CONSTANTS, source.randrange(64), source.randrange(1 << 16), source.randrange(1 << 32)))
    jt = jf = 0
    if op in CONDITIONAL:
        jt, jf = source.randrange(room + 1), source.randrange(room + 1)
    elif op == Op.JA:
        k = source.randrange(room + 1)
    elif op in _MEMORY:
        k = source.choice((0, 1, 15, 16)) if source.random() < 0.1 else source.randrange(3)
    elif op in (Op.LSH_K, Op.RSH_K) and source.random() < 0.9:
        k = source.randrange(32)
    elif op in _LOADS:
        k = source.choice((k & 63, source.randrange(70), k & 0x7FFFFFFF))
    return Line(op, jt, jf, k)
