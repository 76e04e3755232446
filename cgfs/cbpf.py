"""Classic BPF as text: `<n>,<code> <jt> <jf> <k>,...`, the form of `tcpdump -ddd` with commas for line ends
and of `iptables -m bpf`. Pure: it runs in the daemon on whatever somebody wrote into a control file, so all
of it takes time and memory in proportion to a bounded length.

It owns which programs are accepted: those that bpf_check_classic() in net/core/filter.c accepts, except for
what means nothing or something else in a cgroup's filter: loads at offsets from 0x80000000 on, which are
Linux's extensions (SKF_AD_OFF, SKF_NET_OFF, SKF_LL_OFF). It must not know how a program is translated.

Sources: linux/filter.h, linux/bpf_common.h; net/core/filter.c; xt_bpf in iptables-extensions(8); pcap's
bpf_image().
"""

import errno
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
MEMORY_SLOTS = 16  # BPF_MEMWORDS
_FIRST_EXTENSION_OFFSET = 0x80000000


class Op(IntEnum):
    """All opcodes there are. The names are those of `tcpdump -d`, with the addressing mode behind."""

    LD_W_ABS, LD_H_ABS, LD_B_ABS = 0x20, 0x28, 0x30
    LD_W_IND, LD_H_IND, LD_B_IND = 0x40, 0x48, 0x50
    LD_LEN, LD_IMM, LD_MEM = 0x80, 0x00, 0x60
    LDX_LEN, LDX_IMM, LDX_MEM, LDX_MSH = 0x81, 0x01, 0x61, 0xB1
    ST, STX = 0x02, 0x03
    ADD_K, SUB_K, MUL_K, DIV_K, MOD_K = 0x04, 0x14, 0x24, 0x34, 0x94
    ADD_X, SUB_X, MUL_X, DIV_X, MOD_X = 0x0C, 0x1C, 0x2C, 0x3C, 0x9C
    OR_K, AND_K, XOR_K, LSH_K, RSH_K = 0x44, 0x54, 0xA4, 0x64, 0x74
    OR_X, AND_X, XOR_X, LSH_X, RSH_X = 0x4C, 0x5C, 0xAC, 0x6C, 0x7C
    NEG = 0x84
    JA = 0x05
    JEQ_K, JGT_K, JGE_K, JSET_K = 0x15, 0x25, 0x35, 0x45
    JEQ_X, JGT_X, JGE_X, JSET_X = 0x1D, 0x2D, 0x3D, 0x4D
    RET_K, RET_A = 0x06, 0x16
    TAX, TXA = 0x07, 0x87


CONDITIONAL = frozenset((
    Op.JEQ_K, Op.JGT_K, Op.JGE_K, Op.JSET_K, Op.JEQ_X, Op.JGT_X, Op.JGE_X, Op.JSET_X,
))  # fmt: skip
RETURNS = frozenset((Op.RET_K, Op.RET_A))
_OPCODES = {op.value: op for op in Op}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One struct sock_filter."""

    op: Op
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]


def parse(text: str) -> Program:
    """The valid program that *text* is. Raises OSError(EINVAL) with what is wrong and what would be right."""
    length, *lines = text.split(",", MAX_INSTRUCTIONS + 2)
    if lines and lines[-1] == "":  # `tcpdump -ddd | tr '\n' ,` leaves one
        del lines[-1]
    count = _number(length, MAX_INSTRUCTIONS, "the number of instructions")
    if count == 0 or count != len(lines):
        given = str(len(lines)) if len(lines) <= MAX_INSTRUCTIONS else f"more than {MAX_INSTRUCTIONS}"
        raise _invalid(
            f"a program begins with the number of its instructions, 1 to {MAX_INSTRUCTIONS}: "
            f"this one says {count}, and {given} follow"
        )
    program = tuple(_instruction(index, line) for index, line in enumerate(lines))
    _check(program)
    return program


def format_program(program: Sequence[Instruction]) -> str:
    """The text of *program*, such that `parse` gives it back."""
    lines = (f"{insn.op.value} {insn.jt} {insn.jf} {insn.k}" for insn in program)
    return ",".join((str(len(program)), *lines))


def reachable(program: Program) -> frozenset[int]:
    """The indexes of the instructions that can ever run."""
    found = {0}
    for index, insn in enumerate(program):
        if index in found:
            found.update(_successors(index, insn))
    return frozenset(found)


def _successors(index: int, insn: Instruction) -> tuple[int, ...]:
    if insn.op in RETURNS:
        return ()
    if insn.op == Op.JA:
        return (index + 1 + insn.k,)
    if insn.op in CONDITIONAL:
        return (index + 1 + insn.jt, index + 1 + insn.jf)
    return (index + 1,)


_FIELDS = (("code", 0xFFFF), ("jt", 0xFF), ("jf", 0xFF), ("k", 0xFFFFFFFF))
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)


def _number(text: str, maximum: int, what: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > maximum:
        raise _invalid(f"{what} is {text[:20]!r}, and should be a decimal number from 0 to {maximum}")
    return int(text)


def _instruction(index: int, line: str) -> Instruction:
    fields = line.split(" ", 4)
    if len(fields) != 4:
        raise _invalid(
            f"instruction {index} is {line[:50]!r}, and should be four numbers with single spaces between: code jt jf k"
        )
    code, jt, jf, k = (
        _number(field, maximum, f"{name} of instruction {index}")
        for field, (name, maximum) in zip(fields, _FIELDS, strict=True)
    )
    if code not in _OPCODES:
        raise _invalid(f"instruction {index} has the code {code}, which is no classic BPF instruction")
    return Instruction(_OPCODES[code], jt, jf, k)


def _check(program: Program) -> None:
    for index, insn in enumerate(program):
        problem = _problem(insn)
        if problem:
            raise _invalid(f"instruction {index} {problem}")
        beyond = max((target for target in _successors(index, insn)), default=0) >= len(program)
        if beyond and index + 1 < len(program):
            raise _invalid(f"instruction {index} jumps beyond the end of the program")
    if program[-1].op not in RETURNS:
        raise _invalid("the last instruction should be a return (code 6 or 22)")
    _check_memory(program)


def _problem(insn: Instruction) -> str | None:
    """What is wrong with *insn* taken by itself."""
    match insn.op:
        case Op.DIV_K | Op.MOD_K if insn.k == 0:
            return "divides by the constant 0"
        case Op.LSH_K | Op.RSH_K if insn.k > 31:
            return f"shifts by {insn.k} bits: 31 at most"
        case Op.LD_MEM | Op.LDX_MEM | Op.ST | Op.STX if insn.k >= MEMORY_SLOTS:
            return f"uses M[{insn.k}]: there are M[0] to M[{MEMORY_SLOTS - 1}]"
        case Op.JA if insn.k >> 31:
            return "jumps back: there are no loops, as `protochain` would need"
        case Op.LD_W_ABS | Op.LD_H_ABS | Op.LD_B_ABS | Op.LDX_MSH if insn.k >= _FIRST_EXTENSION_OFFSET:
            return (
                f"loads at offset {insn.k}, one of Linux's extensions (ancillary data, negative offsets), "
                "which a cgroup's filter does not have: offsets count from the IP header"
            )
    return None


def _check_memory(program: Program) -> None:
    """Every read of M[] must come after a write on all ways (check_load_and_stores() in filter.c)."""
    all_slots = (1 << MEMORY_SLOTS) - 1
    written_at = [all_slots] * len(program)
    written = 0
    for index, insn in enumerate(program):
        written &= written_at[index]
        match insn.op:
            case Op.ST | Op.STX:
                written |= 1 << insn.k
            case Op.LD_MEM | Op.LDX_MEM if not written >> insn.k & 1:
                raise _invalid(f"instruction {index} reads M[{insn.k}], not written on every way there")
            case op if op == Op.JA or op in CONDITIONAL:
                for target in _successors(index, insn):
                    written_at[target] &= written
                written = all_slots


_JUMPS = {0x10: "jeq", 0x20: "jgt", 0x30: "jge", 0x40: "jset"}
_ARITHMETIC = {
    0x00: "add", 0x10: "sub", 0x20: "mul", 0x30: "div", 0x40: "or", 0x50: "and", 0x60: "lsh", 0x70: "rsh",
    0x90: "mod", 0xA0: "xor",
}  # fmt: skip
_HEXADECIMAL = frozenset(("and", "or", "xor"))
_OTHERS = {
    Op.LD_W_ABS: ("ld", "[{k}]"), Op.LD_H_ABS: ("ldh", "[{k}]"), Op.LD_B_ABS: ("ldb", "[{k}]"),
    Op.LD_W_IND: ("ld", "[x + {k}]"), Op.LD_H_IND: ("ldh", "[x + {k}]"), Op.LD_B_IND: ("ldb", "[x + {k}]"),
    Op.LD_LEN: ("ld", "#pktlen"), Op.LD_IMM: ("ld", "#{hex}"), Op.LD_MEM: ("ld", "M[{k}]"),
    Op.LDX_LEN: ("ldx", "#pktlen"), Op.LDX_IMM: ("ldx", "#{hex}"), Op.LDX_MEM: ("ldx", "M[{k}]"),
    Op.LDX_MSH: ("ldxb", "4*([{k}]&0xf)"), Op.ST: ("st", "M[{k}]"), Op.STX: ("stx", "M[{k}]"),
    Op.NEG: ("neg", ""), Op.TAX: ("tax", ""), Op.TXA: ("txa", ""),
    Op.RET_K: ("ret", "#{k}"), Op.RET_A: ("ret", "a"),
}  # fmt: skip


def disassemble(program: Iterable[Instruction]) -> list[str]:
    """A line for each instruction, as `tcpdump -d` prints them."""
    return [f"({index:03}) {_words(index, insn)}".rstrip() for index, insn in enumerate(program)]


def _words(index: int, insn: Instruction) -> str:
    code, k = insn.op.value, insn.k
    operand = "x" if code & 0x08 else f"#{k:#x}"
    if insn.op == Op.JA:
        return f"{'ja':<8} {index + 1 + k}"
    if insn.op in CONDITIONAL:
        targets = f"jt {index + 1 + insn.jt}\tjf {index + 1 + insn.jf}"
        return f"{_JUMPS[code & 0xF0]:<8} {operand:<16} {targets}"
    if insn.op in _OTHERS:
        name, form = _OTHERS[insn.op]
        return f"{name:<8} {form.format(k=_signed(k), hex=hex(k))}"
    name = _ARITHMETIC[code & 0xF0]
    if not code & 0x08 and name not in _HEXADECIMAL:
        operand = f"#{_signed(k)}"
    return f"{name:<8} {operand}"


def _signed(k: int) -> int:
    return k - (1 << 32) if k >> 31 else k


def _invalid(message: str) -> OSError:
    return OSError(errno.EINVAL, f"cbpf: {message}")
