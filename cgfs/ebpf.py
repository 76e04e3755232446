"""A small eBPF assembler: instructions, labels, helper calls and references to maps. Pure: makes no system
call.

It owns the encoding of instructions and the distances of jumps. It must not know what a program is for, nor
what the verifier allows: the kernel says that.

Sources: Documentation/bpf/standardization/instruction-set.rst; linux/bpf.h; bpf_prog_calc_tag() in
kernel/bpf/core.c.
"""

import errno
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum


class Reg(Enum):
    """A register. Not an int, so that a number is never taken for one. R6 to R9 survive a call; R10 is the
    frame.
    """

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


class Alu(IntEnum):
    """Operations on 32 bits; the upper half of the destination becomes zero. Dividing by zero gives 0."""

    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    MOD = 0x90
    XOR = 0xA0
    MOV = 0xB0


class Jump(IntEnum):
    """Conditions, all of them unsigned."""

    EQ = 0x10
    GT = 0x20
    GE = 0x30
    SET = 0x40
    NE = 0x50


class Size(IntEnum):
    """Width of a memory access."""

    B = 0x10
    H = 0x08
    W = 0x00
    DW = 0x18


class Helper(IntEnum):
    """Kernel functions by their number in linux/bpf.h."""

    MAP_LOOKUP_ELEM = 1
    TAIL_CALL = 12
    SKB_LOAD_BYTES = 26
    SKB_CGROUP_ID = 79
    GET_CURRENT_CGROUP_ID = 80


_LDX_MEM, _STX_MEM, _ST_MEM, _STX_ATOMIC = 0x61, 0x63, 0x62, 0xC3
_LD_IMM64, _PSEUDO_MAP_FD = 0x18, 1
_ALU32, _ALU64, _JMP64, _JMP32 = 0x04, 0x07, 0x05, 0x06
_SOURCE_REGISTER, _TO_BIG_ENDIAN, _NEG = 0x08, 0xDC, 0x84
_CALL, _EXIT, _FAR_JUMP_ALWAYS = 0x85, 0x95, 0x06
_ENCODING = struct.Struct("<BBhi")
_NEAR = range(-(1 << 15), 1 << 15)


class Label:
    """A place in a program, to jump to before or after it is known."""

    __slots__ = ("position", "used")

    def __init__(self) -> None:
        self.position: int | None = None
        self.used = False


@dataclass(frozen=True, slots=True)
class Code:
    """Assembled instructions in which the descriptors of the maps are still missing."""

    instructions: bytes
    map_references: tuple[tuple[int, str], ...]

    def with_maps(self, map_fds: Mapping[str, int]) -> bytes:
        """The instructions as BPF_PROG_LOAD wants them, with the descriptor of each map by its name."""
        insns = bytearray(self.instructions)
        for position, name in self.map_references:
            struct.pack_into("<i", insns, position * _ENCODING.size + 4, map_fds[name])
        return bytes(insns)

    def tags(self) -> frozenset[str]:
        """What prog_tag in the program's fdinfo can be: 8 bytes of a hash that leaves the descriptors out.

        It is SHA-1, or since Linux 6.18 SHA-256 (603b44162325, "bpf: Update the bpf_prog_calc_tag to use
        SHA256").
        """
        hashes = (hashlib.sha1(self.instructions, usedforsecurity=False), hashlib.sha256(self.instructions))
        return frozenset(digest.hexdigest()[:16] for digest in hashes)


class Assembler:
    """Collects instructions; `finish` computes the jumps."""

    def __init__(self) -> None:
        self._insns: list[tuple[int, int, int, int]] = []
        self._jumps: list[tuple[int, Label]] = []
        self._maps: list[tuple[int, str]] = []

    def _emit(self, code: int, dst: Reg | None = None, src: Reg | None = None, off: int = 0, imm: int = 0) -> None:
        registers = (dst.value if dst else 0) | (src.value if src else 0) << 4
        self._insns.append((code, registers, off, _signed(imm)))

    def _operate(self, code: int, dst: Reg, operand: Reg | int, off: int = 0) -> None:
        if isinstance(operand, Reg):
            self._emit(code | _SOURCE_REGISTER, dst, operand, off)
        else:
            self._emit(code, dst, None, off, operand)

    def alu32(self, op: Alu, dst: Reg, operand: Reg | int) -> None:
        """dst = dst op operand; MOV: dst = operand. Shifts take the low 5 bits of the operand."""
        self._operate(_ALU32 | op, dst, operand)

    def negate32(self, dst: Reg) -> None:
        """dst = -dst."""
        self._emit(_NEG, dst)

    def copy(self, dst: Reg, src: Reg) -> None:
        """dst = src, all 64 bits: pointers as well."""
        self._operate(_ALU64 | Alu.MOV, dst, src)

    def add_to_pointer(self, dst: Reg, offset: int) -> None:
        """dst += offset, 64 bits."""
        self._operate(_ALU64 | Alu.ADD, dst, offset)

    def to_big_endian(self, dst: Reg, bits: int) -> None:
        """Convert the low 16 or 32 bits between the host's and the network's order; the rest becomes zero."""
        self._emit(_TO_BIG_ENDIAN, dst, imm=bits)

    def load(self, size: Size, dst: Reg, base: Reg, offset: int) -> None:
        """dst = memory at base + offset, extended with zeros."""
        self._emit(_LDX_MEM | size, dst, base, offset)

    def store(self, size: Size, base: Reg, offset: int, value: Reg | int) -> None:
        """Memory at base + offset = value."""
        if isinstance(value, Reg):
            self._emit(_STX_MEM | size, base, value, offset)
        else:
            self._emit(_ST_MEM | size, base, None, offset, value)

    def atomic_add64(self, base: Reg, offset: int, value: Reg) -> None:
        """Memory at base + offset += value, in one step."""
        self._emit(_STX_ATOMIC | Size.DW, base, value, offset)

    def constant64(self, dst: Reg, value: int) -> None:
        """dst = value, of 64 bits; takes two instructions."""
        self._emit(_LD_IMM64, dst, imm=value & 0xFFFFFFFF)
        self._emit(0, imm=value >> 32)

    def map(self, dst: Reg, name: str) -> None:
        """dst = the map that `Code.with_maps` is given as *name*; takes two instructions."""
        self._maps.append((len(self._insns), name))
        self._insns.append((_LD_IMM64, dst.value | _PSEUDO_MAP_FD << 4, 0, 0))
        self._emit(0)

    def call(self, helper: Helper) -> None:
        """R0 = helper(R1, ...); R1 to R5 are gone afterwards."""
        self._emit(_CALL, imm=helper)

    def exit(self) -> None:
        """Return R0."""
        self._emit(_EXIT)

    def jump(self, label: Label) -> None:
        """Go on at *label*, however far (more than 32767 instructions: Linux 6.6 and later)."""
        self._jump_to(label)
        self._emit(_JMP64)

    def jump_if32(self, condition: Jump, dst: Reg, operand: Reg | int, label: Label) -> None:
        """Go on at *label* if the low 32 bits compare so; *label* may be 32767 instructions away."""
        self._jump_to(label)
        self._operate(_JMP32 | condition, dst, operand)

    def jump_if64(self, condition: Jump, dst: Reg, operand: Reg | int, label: Label) -> None:
        """The same with all 64 bits; an immediate operand is extended with its sign."""
        self._jump_to(label)
        self._operate(_JMP64 | condition, dst, operand)

    def place(self, label: Label) -> None:
        """*label* is here: at the next instruction."""
        label.position = len(self._insns)

    def _jump_to(self, label: Label) -> None:
        label.used = True
        self._jumps.append((len(self._insns), label))

    def finish(self) -> Code:
        """Compute the jumps. Raises OSError(E2BIG) if a conditional one is too far."""
        for source, label in self._jumps:
            assert label.position is not None
            distance = label.position - source - 1
            code, registers, _, imm = self._insns[source]
            if distance in _NEAR:
                self._insns[source] = (code, registers, distance, imm)
            elif code == _JMP64:
                self._insns[source] = (_FAR_JUMP_ALWAYS, registers, 0, distance)
            else:
                raise OSError(errno.E2BIG, f"a conditional jump over {distance} instructions: 32767 at most")
        return Code(b"".join(_ENCODING.pack(*insn) for insn in self._insns), tuple(self._maps))


def _signed(value: int) -> int:
    """The 32 bits of *value* as the signed number that an immediate is."""
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
