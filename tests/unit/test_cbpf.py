"""Classic BPF as text: what is a program, what is none and why, and how one reads."""

import ctypes
import errno
import itertools

import pytest

from cgfs import cbpf
from cgfs.cbpf import Instruction, Op

PASS, DROP = "6 0 0 1", "6 0 0 0"


def program(*lines: str) -> str:
    return ",".join((str(len(lines)), *lines))


def test_what_is_written_is_read_back() -> None:
    text = "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"
    parsed = cbpf.parse(text)
    assert parsed == (
        Instruction(Op.LD_B_ABS, 0, 0, 9),
        Instruction(Op.JEQ_K, 0, 1, 6),
        Instruction(Op.RET_K, 0, 0, 1),
        Instruction(Op.RET_K, 0, 0, 0),
    )
    assert cbpf.format_program(parsed) == text


def test_the_comma_that_tr_leaves_at_the_end_is_accepted() -> None:
    assert cbpf.parse("1,6 0 0 1,") == cbpf.parse("1,6 0 0 1")


def test_4096_instructions_are_the_most() -> None:
    assert len(cbpf.parse(program(*[DROP] * 4096) + ",")) == 4096
    for text in (program(*[DROP] * 4097), "4096," + ",".join([DROP] * 4097)):
        with pytest.raises(OSError, match="4096") as caught:
            cbpf.parse(text)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "number of instructions is ''"),
        ("x", "number of instructions is 'x'"),
        ("0", "1 to 4096: this one says 0, and 0 follow"),
        ("0,", "says 0"),
        ("2,6 0 0 1", "says 2, and 1 follow"),
        ("1,6 0 0 1,6 0 0 0", "says 1, and 2 follow"),
        ("1,6 0 0 1,,", "says 1, and 2 follow"),
        ("1, 6 0 0 1", "instruction 0 is ' 6 0 0 1'"),
        ("1,6 0 0 1 ", "four numbers"),
        ("1,6  0 0 1", "four numbers"),
        ("1,6 0 0", "four numbers"),
        ("1,6\t0\t0\t1", "four numbers"),
        ("1,", "says 1, and 0 follow"),
        ("01,6 0 0 1", "number of instructions is '01'"),
        ("1,06 0 0 1", "code of instruction 0 is '06'"),
        ("1,0x6 0 0 1", "code of instruction 0 is '0x6'"),
        ("1,+6 0 0 1", "code of instruction 0"),
        ("1,6 0 0 -1", "k of instruction 0 is '-1'"),
        ("1,6 0 0 1_0", "k of instruction 0"),
        ("1,6 0 0 \u0661", "k of instruction 0"),
        (
            "1,6 0 0 4294967296",
            "k of instruction 0 is '4294967296', and should be a decimal .* 0 to 4294967295",
        ),
        ("1,6 0 0 99999999999999999999", "k of instruction 0"),
        ("1,6 256 0 1", "jt of instruction 0 is '256'"),
        ("1,6 0 256 1", "jf of instruction 0 is '256'"),
        ("1,65536 0 0 1", "code of instruction 0 is '65536'"),
        ("1,14 0 0 1", "code 14, which is no classic BPF instruction"),
        ("1,65535 0 0 1", "code 65535"),
        ("1,6 0 0 1\n", "k of instruction 0"),
        (program("0 0 0 1"), "last instruction should be a return"),
        (program("21 0 0 1"), "last instruction should be a return"),
        (program("5 0 0 0"), "last instruction should be a return"),
        (program("21 1 0 1", DROP), "instruction 0 jumps beyond the end"),
        (program("21 0 1 1", DROP), "instruction 0 jumps beyond the end"),
        (program("5 0 0 1", DROP), "instruction 0 jumps beyond the end"),
        (program("5 0 0 4294967295", DROP), "instruction 0 jumps back"),
        (program("52 0 0 0", DROP), "divides by the constant 0"),
        (program("148 0 0 0", DROP), "divides by the constant 0"),
        (program("100 0 0 32", DROP), "shifts by 32 bits"),
        (program("116 0 0 4294967295", DROP), "shifts by 4294967295 bits"),
        (program("2 0 0 16", DROP), r"uses M\[16\]: there are M\[0\] to M\[15\]"),
        (program("97 0 0 16", DROP), r"uses M\[16\]"),
        (program("96 0 0 0", DROP), r"reads M\[0\], not written"),
        (program("21 1 0 0", "2 0 0 3", "97 0 0 3", DROP), r"instruction 2 reads M\[3\]"),
        (program("40 0 0 4294963200", DROP), "Linux's extensions"),
        (program("32 0 0 2147483648", DROP), "Linux's extensions"),
        (program("177 0 0 4293918720", DROP), "Linux's extensions"),
    ],
)
def test_what_is_no_program_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason) as caught:
        cbpf.parse(text)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("text", ["1," * 32768, "9" * 65536, " " * 65536, "4096," + "6 " * 32000, "," * 65536])
def test_a_long_text_of_nothing_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(OSError, match="cbpf") as caught:
        cbpf.parse(text)
    assert len(str(caught.value)) < 250


def test_a_slot_written_on_both_ways_may_be_read() -> None:
    cbpf.parse(program("21 0 2 0", "2 0 0 3", "5 0 0 1", "3 0 0 3", "96 0 0 3", PASS))


def test_what_nothing_leads_to_is_not_reachable() -> None:
    parsed = cbpf.parse(program("21 1 3 0", "0 0 0 0", "5 0 0 1", "0 0 0 0", "22 0 0 0", DROP))
    assert cbpf.reachable(parsed) == {0, 2, 4}


class _Insn(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


def test_instructions_read_as_libpcap_writes_them() -> None:
    libpcap = ctypes.CDLL("libpcap.so.0.8")
    libpcap.bpf_image.restype = ctypes.c_char_p
    filler = Instruction(Op.RET_K, 0, 0, 0)
    for op, k in itertools.product(set(Op) - {Op.LDX_LEN, Op.RET_A}, (0, 7, 0x1FFF, 0xFFFFFFFF)):
        insn = Instruction(op, 2, 5, min(k, 4000) if op == Op.JA else k)
        image = libpcap.bpf_image(ctypes.byref(_Insn(op, insn.jt, insn.jf, insn.k)), 2).decode()
        assert cbpf.disassemble([filler, filler, insn])[2].split() == image.split()


def test_instructions_that_libpcap_cannot_write_read_alike() -> None:
    program = (Instruction(Op.LDX_LEN, 0, 0, 0), Instruction(Op.RET_A, 0, 0, 0))
    assert cbpf.disassemble(program) == ["(000) ldx      #pktlen", "(001) ret      a"]
