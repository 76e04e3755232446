"""Classic BPF to eBPF, for a program of type cgroup_skb. Pure.

It owns the meaning of each classic instruction, which is that of the kernel's own bpf_convert_filter() in
net/core/filter.c: 32-bit arithmetic, a load outside the packet or a division by zero ends the program with 0.
Where a socket's classic filter says how many bytes to keep, here 0 drops the packet and anything else lets it
pass. The packet begins at the IP header, as libpcap's link type RAW has it: for a cgroup's program it does.
An indirect load at X + k >= 0x80000000 (Linux's extensions) lies outside the packet.

Verification must take time in proportion to the length, whatever the program: somebody who may write the
control file chooses it, the kernel verifies it for the daemon. The verifier follows every way through a
program, and gives up a way only where it has been before in an equivalent state; values that decided a branch
must then be the same. With n tests that makes 2**n states. So no branch here is decided by a value that the
verifier knows anything about: what is compared is a copy of A, xor-ed with a register that holds 0 without
the verifier's knowing it. 4096 instructions then load in 0.4 s at worst, where 80 could make the verifier
give up after a million steps and 3 s (measured, Linux 6.18). Nothing but that depends on it.
"""

from cgfs.cbpf import CONDITIONAL, RETURNS, Instruction, Op, Program, reachable
from cgfs.ebpf import Alu, Assembler, Helper, Jump, Label, Reg, Size

CONTEXT, A, X, UNKNOWN_ZERO = Reg.R6, Reg.R7, Reg.R8, Reg.R9
"""Where the translation keeps things, besides the stack. CONTEXT has to be set before, it sets the others."""

_SKB_LEN_OFFSET = 0  # struct __sk_buff in linux/bpf.h
_LOADED = -8  # from R10: a word that loads go through; M[] is below
_TO_EXITS = 1024  # conditional jumps reach 32767 eBPF instructions, and a classic one becomes 10 at most

_LOADS = {
    Op.LD_W_ABS: 4, Op.LD_H_ABS: 2, Op.LD_B_ABS: 1, Op.LD_W_IND: 4, Op.LD_H_IND: 2, Op.LD_B_IND: 1,
    Op.LDX_MSH: 1,
}  # fmt: skip
_INDIRECT = frozenset((Op.LD_W_IND, Op.LD_H_IND, Op.LD_B_IND))
_SIZES = {1: Size.B, 2: Size.H, 4: Size.W}
_ALU = frozenset(op for op in Op if op & 0x07 == 0x04 and op != Op.NEG)
_FROM_X = 0x08  # BPF_X: the operand is X, not the constant
_OPERATION = 0xF0


def translate(assembler: Assembler, program: Program, passed: Label, dropped: Label) -> None:
    """Emit *program*, which goes on at *passed* or at *dropped* and never beyond its end.

    R6 must hold the context. *passed* and *dropped* are to be placed afterwards, each if it is `used`.
    """
    _Translation(assembler, program, passed, dropped).run()


class _Translation:
    def __init__(self, assembler: Assembler, program: Program, passed: Label, dropped: Label) -> None:
        self._asm = assembler
        self._program = program
        self._final = (passed, dropped)
        self._passed, self._dropped = Label(), Label()
        self._targets = tuple(Label() for _ in program)

    def run(self) -> None:
        self._start()
        runs = reachable(self._program)
        for index, insn in enumerate(self._program):
            if index and index % _TO_EXITS == 0:
                comes_from_above = index - 1 in runs and _falls_through(self._program[index - 1])
                self._exits(around_to=self._targets[index] if comes_from_above else None)
            if index in runs:  # the verifier refuses what cannot be reached
                self._asm.place(self._targets[index])
                self._instruction(index, insn)
        self._exits(around_to=None)

    def _start(self) -> None:
        """A, X and the unknown zero: twice the packet's length, one subtracted from the other."""
        asm = self._asm
        asm.load(Size.W, UNKNOWN_ZERO, CONTEXT, _SKB_LEN_OFFSET)
        asm.alu32(Alu.MOV, A, UNKNOWN_ZERO)
        asm.alu32(Alu.SUB, UNKNOWN_ZERO, A)
        asm.alu32(Alu.MOV, A, 0)
        asm.alu32(Alu.MOV, X, 0)

    def _exits(self, *, around_to: Label | None) -> None:
        """Stations within the reach of conditional jumps, on the way to the exits."""
        asm = self._asm
        if around_to:
            asm.jump(around_to)
        for station, exit_ in zip((self._passed, self._dropped), self._final, strict=True):
            if station.used:
                asm.place(station)
                asm.jump(exit_)
        self._passed, self._dropped = Label(), Label()

    def _instruction(self, index: int, insn: Instruction) -> None:
        op, k, asm = insn.op, insn.k, self._asm
        if op in _LOADS:
            self._load(op, k)
        elif op in _ALU:
            self._arithmetic(op, k)
        elif op in CONDITIONAL:
            self._branch(index, insn)
        else:
            match op:
                case Op.NEG:
                    asm.negate32(A)
                case Op.LD_IMM | Op.LDX_IMM:
                    asm.alu32(Alu.MOV, A if op == Op.LD_IMM else X, k)
                case Op.LD_LEN | Op.LDX_LEN:
                    asm.load(Size.W, A if op == Op.LD_LEN else X, CONTEXT, _SKB_LEN_OFFSET)
                case Op.LD_MEM | Op.LDX_MEM:
                    asm.load(Size.W, A if op == Op.LD_MEM else X, Reg.R10, _slot(k))
                case Op.ST | Op.STX:
                    asm.store(Size.W, Reg.R10, _slot(k), A if op == Op.ST else X)
                case Op.TAX:
                    asm.alu32(Alu.MOV, X, A)
                case Op.TXA:
                    asm.alu32(Alu.MOV, A, X)
                case Op.JA:
                    asm.jump(self._targets[index + 1 + k])
                case Op.RET_K:
                    asm.jump(self._passed if k else self._dropped)
                case Op.RET_A:
                    self._jump_if(Jump.NE, A, 0, self._passed)
                    asm.jump(self._dropped)

    def _load(self, op: Op, k: int) -> None:
        """A (MSH: X) = bytes of the packet."""
        asm, size = self._asm, _LOADS[op]
        asm.copy(Reg.R1, CONTEXT)
        if op in _INDIRECT:
            asm.alu32(Alu.MOV, Reg.R2, X)
            asm.alu32(Alu.ADD, Reg.R2, k)
        else:
            asm.alu32(Alu.MOV, Reg.R2, k)
        asm.copy(Reg.R3, Reg.R10)
        asm.add_to_pointer(Reg.R3, _LOADED)
        asm.alu32(Alu.MOV, Reg.R4, size)
        asm.call(Helper.SKB_LOAD_BYTES)
        asm.jump_if32(Jump.NE, Reg.R0, 0, self._dropped)
        destination = X if op == Op.LDX_MSH else A
        asm.load(_SIZES[size], destination, Reg.R10, _LOADED)
        if size > 1:
            asm.to_big_endian(destination, size * 8)
        if op == Op.LDX_MSH:
            asm.alu32(Alu.AND, X, 0xF)
            asm.alu32(Alu.LSH, X, 2)

    def _arithmetic(self, op: Op, k: int) -> None:
        """A = A op operand. A shift by X takes its low 5 bits, in classic BPF and in eBPF alike."""
        operation = Alu(op & _OPERATION)
        if not op & _FROM_X:
            self._asm.alu32(operation, A, k)
            return
        if operation in (Alu.DIV, Alu.MOD):
            self._jump_if(Jump.EQ, X, 0, self._dropped)
        self._asm.alu32(operation, A, X)

    def _branch(self, index: int, insn: Instruction) -> None:
        if insn.jt == insn.jf:
            if insn.jt:
                self._asm.jump(self._targets[index + 1 + insn.jt])
            return
        if_true, if_false = (self._targets[index + 1 + distance] for distance in (insn.jt, insn.jf))
        condition = Jump(insn.op & _OPERATION)
        operand = X if insn.op & _FROM_X else insn.k
        self._jump_if(condition, A, operand, if_true)
        if insn.jf:
            self._asm.jump(if_false)

    def _jump_if(self, condition: Jump, register: Reg, operand: Reg | int, target: Label) -> None:
        """Compare what *register* holds without letting the verifier draw conclusions."""
        self._asm.alu32(Alu.MOV, Reg.R1, register)
        self._asm.alu32(Alu.XOR, Reg.R1, UNKNOWN_ZERO)
        self._asm.jump_if32(condition, Reg.R1, operand, target)


def _falls_through(insn: Instruction) -> bool:
    """Whether the translation of *insn* can go on at what stands behind it."""
    return not (insn.op in RETURNS or insn.op == Op.JA or (insn.op in CONDITIONAL and insn.jf))


def _slot(k: int) -> int:
    """Where M[k] is, from R10."""
    return _LOADED - 8 * (k + 1)
