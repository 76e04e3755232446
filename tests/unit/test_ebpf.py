"""The assembler's encoding, by the bytes that the instruction set's standard gives."""

import errno

import pytest

from cgfs.ebpf import Alu, Assembler, Helper, Jump, Label, Reg, Size


def assembled(emit: object) -> str:
    assembler = Assembler()
    assert callable(emit)
    emit(assembler)
    return assembler.finish().instructions.hex()


@pytest.mark.parametrize(
    ("emit", "encoding"),
    [
        (lambda a: a.alu32(Alu.MOV, Reg.R7, 5), "b407000005000000"),
        (lambda a: a.alu32(Alu.XOR, Reg.R1, Reg.R9), "ac91000000000000"),
        (lambda a: a.alu32(Alu.AND, Reg.R7, 0xFFFFFFF0), "54070000f0ffffff"),
        (lambda a: a.negate32(Reg.R7), "8407000000000000"),
        (lambda a: a.copy(Reg.R6, Reg.R1), "bf16000000000000"),
        (lambda a: a.add_to_pointer(Reg.R3, -8), "07030000f8ffffff"),
        (lambda a: a.to_big_endian(Reg.R7, 16), "dc07000010000000"),
        (lambda a: a.load(Size.W, Reg.R7, Reg.R10, -8), "61a7f8ff00000000"),
        (lambda a: a.load(Size.H, Reg.R7, Reg.R10, -8), "69a7f8ff00000000"),
        (lambda a: a.load(Size.B, Reg.R7, Reg.R10, -8), "71a7f8ff00000000"),
        (lambda a: a.store(Size.W, Reg.R10, -16, Reg.R7), "637af0ff00000000"),
        (lambda a: a.store(Size.W, Reg.R10, -16, 3), "620af0ff03000000"),
        (lambda a: a.atomic_add64(Reg.R0, 8, Reg.R1), "db10080000000000"),
        (lambda a: a.constant64(Reg.R1, 0x1122334455667788), "180100008877665500000000" + "44332211"),
        (lambda a: a.map(Reg.R1, "m"), "1811000000000000" + "00" * 8),
        (lambda a: a.call(Helper.SKB_LOAD_BYTES), "850000001a000000"),
        (lambda a: a.exit(), "9500000000000000"),
    ],
)
def test_an_instruction_has_its_standard_encoding(emit: object, encoding: str) -> None:
    assert assembled(emit) == encoding


@pytest.mark.parametrize(
    ("condition", "code"),
    [(Jump.EQ, "16"), (Jump.GT, "26"), (Jump.GE, "36"), (Jump.SET, "46"), (Jump.NE, "56")],
)
def test_a_jump_counts_from_the_next_instruction(condition: Jump, code: str) -> None:
    assembler, label = Assembler(), Label()
    assembler.jump_if32(condition, Reg.R1, 7, label)
    assembler.exit()
    assembler.place(label)
    assembler.exit()
    assert assembler.finish().instructions.hex()[:16] == f"{code}01010007000000"


def test_a_comparison_may_have_64_bits() -> None:
    assembler, label = Assembler(), Label()
    assembler.place(label)
    assembler.jump_if64(Jump.EQ, Reg.R0, Reg.R1, label)
    assert assembler.finish().instructions.hex() == "1d10ffff00000000"


def over(count: int, *, conditional: bool) -> str:
    assembler, label = Assembler(), Label()
    if conditional:
        assembler.jump_if32(Jump.EQ, Reg.R1, 0, label)
    else:
        assembler.jump(label)
    for _ in range(count):
        assembler.exit()
    assembler.place(label)
    assembler.exit()
    return assembler.finish().instructions.hex()[:16]


def test_a_jump_may_be_far_and_a_conditional_one_may_not() -> None:
    assert over(32767, conditional=True) == "1601ff7f00000000"
    assert over(32767, conditional=False) == "0500ff7f00000000"
    assert over(32768, conditional=False) == "0600000000800000"
    with pytest.raises(OSError, match="32767 at most") as caught:
        over(32768, conditional=True)
    assert caught.value.errno == errno.E2BIG


def test_maps_are_filled_in_by_name_and_leave_the_tags_alone() -> None:
    assembler = Assembler()
    assembler.map(Reg.R1, "one")
    assembler.map(Reg.R2, "two")
    code = assembler.finish()
    assert code.with_maps({"one": 5, "two": 300}).hex() == (
        "1811000005000000" + "00" * 8 + "181200002c010000" + "00" * 8
    )
    assert code.with_maps({"one": 0, "two": 0}) == code.instructions
    assert {len(tag) for tag in code.tags()} == {16}
