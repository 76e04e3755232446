"""Filters that people write as text: `families:inet,inet6`, `cbpf:4,48 0 0 9,...`.

It owns how a text becomes a program in the kernel and how the text is had back. The text lives beside the
program, in a frozen map bound to it (BPF_PROG_BIND_MAP), so it is there for any daemon and gone with the
program. Any program can carry a map that looks like ours: a text counts only if the program that it stands
for has this program's tag, so the same text must always give the same instructions. Whether the program came
through the control file is not known here.

The mode `nonrecursive` is compiled in: sockets of another cgroup pass at once. For packets that is the cgroup
of the socket; for a socket that is being created the kernel has no such helper, and it is the creator's
cgroup, which is the new socket's.

Sources: linux/bpf.h; net/core/filter.c; kernel/bpf/cgroup.c; families.py, cbpf.py, cbpf_translate.py.
"""

import errno
import hashlib
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from cgfs import cbpf, families
from cgfs.bpf import AttachType, Map, MapType, Program, ProgType
from cgfs.cbpf_translate import translate
from cgfs.control import CONTROL_FILES, ControlFile
from cgfs.ebpf import Alu, Assembler, Code, Helper, Jump, Label, Reg, Size

MAX_TEXT_BYTES = 64 << 10
TEXT_MAP, COUNTERS_MAP = "cgfs_text", "cgfs_counters"

_HEADER = struct.Struct("<Q")  # before the text: the id of the only cgroup it is for, or 0
_DROPPED, _PASSED = 0, 1  # verdicts of the programs, and keys of the counters
_KEY = struct.Struct("=I")
_COUNTER = struct.Struct("=Q")
_STACK_KEY = -8

_Emit = Callable[[Assembler, Label, Label], None]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One language of filters. *compile* raises OSError(EINVAL); what it returns emits the filter's program."""

    hooks: tuple[AttachType, ...]
    prog_type: ProgType
    prog_name: str
    own_cgroup_id: Helper
    compile: Callable[[str], _Emit]
    describe: Callable[[str], list[str]]
    not_covered: Sequence[str]


def _compile_families(body: str) -> _Emit:
    names = families.parse(body)
    return lambda assembler, passed, dropped: families.emit(assembler, names, passed, dropped)


def _compile_cbpf(body: str) -> _Emit:
    program = cbpf.parse(body)
    return lambda assembler, passed, dropped: translate(assembler, program, passed, dropped)


def _describe_cbpf(body: str) -> list[str]:
    return [
        "classic BPF: a packet passes where this returns anything but 0; offsets count from the IP header",
        *cbpf.disassemble(cbpf.parse(body)),
    ]


_KINDS = {
    "families": _Kind(
        (AttachType.CGROUP_INET_SOCK_CREATE,),
        ProgType.CGROUP_SOCK,
        "cgfs_families",
        Helper.GET_CURRENT_CGROUP_ID,
        _compile_families,
        lambda body: families.describe(families.parse(body)),
        families.NOT_COVERED,
    ),
    "cbpf": _Kind(
        (AttachType.CGROUP_INET_INGRESS, AttachType.CGROUP_INET_EGRESS),
        ProgType.CGROUP_SKB,
        "cgfs_cbpf",
        Helper.SKB_CGROUP_ID,
        _compile_cbpf,
        _describe_cbpf,
        (
            "packets that belong to no AF_INET or AF_INET6 socket of the cgroup (AF_PACKET, AF_XDP, the kernel's own)",
            "sockets that were made before their process was moved here: a socket stays in the cgroup it was made in",
            "IPv6 packets with extension headers, where the filter looks for tcp, udp or ports as tcpdump does",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class TextFilter:
    """A text that is a filter."""

    text: str
    """What was written, without a mode: `families:inet`."""
    kind: _Kind
    emit: _Emit


class StoredText(NamedTuple):
    """The text of a program in the kernel; *only_cgroup_id* is the cgroup whose members alone it filters, if
    any.
    """

    text: str
    only_cgroup_id: int | None


class Counters(NamedTuple):
    """Packets, or attempts to create a socket, since the program was loaded."""

    passed: int
    dropped: int


def parse_text(text: str, file: ControlFile) -> TextFilter:
    """The filter that *text* (without a mode) is in *file*.

    Raises OSError: E2BIG if it is longer than 64 KiB, EINVAL if it is no filter or none for this file.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise OSError(errno.E2BIG, f"a filter of {len(text)} bytes: {MAX_TEXT_BYTES} is the most")
    found = parse(text)
    word = text.partition(":")[0]
    fitting = languages(file)
    if word not in fitting:
        files = " and ".join(other.name for other in CONTROL_FILES if word in languages(other))
        takes = " or ".join(f"{other}:" for other in fitting) or "no text filter"
        raise OSError(errno.EINVAL, f"{word}: is a filter for {files}; {file.name} takes {takes}")
    return found


def languages(file: ControlFile) -> list[str]:
    """The words with which a text filter in *file* may begin."""
    return [word for word, kind in _KINDS.items() if file.attach_type in kind.hooks]


def parse(text: str) -> TextFilter:
    """The filter that *text* (without a mode) is, in whatever file. Raises OSError(EINVAL) if it is none."""
    word, colon, body = text.partition(":")
    kind = _KINDS.get(word)
    if not colon or kind is None:
        known = " and ".join(f"{known}:" for known in _KINDS)
        raise OSError(errno.EINVAL, f"{word[:40]}: is no text filter: there are {known}")
    return TextFilter(text, kind, kind.compile(body))


def assemble(text_filter: TextFilter, only_cgroup_id: int | None) -> Code:
    """The program of *text_filter*, always the same for the same text."""
    asm, passed, dropped, elsewhere = Assembler(), Label(), Label(), Label()
    asm.copy(Reg.R6, Reg.R1)
    if only_cgroup_id is not None:
        asm.call(text_filter.kind.own_cgroup_id)
        asm.constant64(Reg.R1, only_cgroup_id)
        asm.jump_if64(Jump.NE, Reg.R0, Reg.R1, elsewhere)
    text_filter.emit(asm, passed, dropped)
    _emit_verdict(asm, ((dropped, _DROPPED), (passed, _PASSED)))
    if elsewhere.used:
        asm.place(elsewhere)
        asm.alu32(Alu.MOV, Reg.R0, _PASSED)
        asm.exit()
    return asm.finish()


def _emit_verdict(asm: Assembler, verdicts: Sequence[tuple[Label, int]]) -> None:
    """Count the verdict, and return it."""
    count, out = Label(), Label()
    for label, verdict in verdicts:
        if label.used:
            asm.place(label)
            asm.alu32(Alu.MOV, Reg.R6, verdict)
            asm.jump(count)
    asm.place(count)
    asm.store(Size.W, Reg.R10, _STACK_KEY, Reg.R6)
    asm.map(Reg.R1, COUNTERS_MAP)
    asm.copy(Reg.R2, Reg.R10)
    asm.add_to_pointer(Reg.R2, _STACK_KEY)
    asm.call(Helper.MAP_LOOKUP_ELEM)
    asm.jump_if64(Jump.EQ, Reg.R0, 0, out)  # never so, but the verifier cannot know
    asm.alu32(Alu.MOV, Reg.R1, 1)
    asm.atomic_add64(Reg.R0, 0, Reg.R1)  # a softirq may come between
    asm.place(out)
    asm.alu32(Alu.MOV, Reg.R0, Reg.R6)
    asm.exit()


def load(text_filter: TextFilter, file: ControlFile, *, only_cgroup_id: int | None = None) -> Program:
    """Load the program of *text_filter* for *file*, with its text. The caller owns the program.

    With *only_cgroup_id* (nonrecursive) it filters what belongs to that cgroup itself and lets the rest pass.
    Raises OSError: what the kernel says.
    """
    code = assemble(text_filter, only_cgroup_id)
    value = _HEADER.pack(only_cgroup_id or 0) + text_filter.text.encode("ascii")
    with ExitStack() as stack:
        counters = stack.enter_context(
            Map.create(MapType.PERCPU_ARRAY, _KEY.size, _COUNTER.size, len((_DROPPED, _PASSED)), COUNTERS_MAP)
        )
        text_map = stack.enter_context(Map.create(MapType.ARRAY, _KEY.size, len(value), 1, TEXT_MAP))
        text_map.update(_KEY.pack(0), value)
        text_map.freeze()
        program = Program.load(
            text_filter.kind.prog_type,
            code.with_maps({COUNTERS_MAP: counters.fd}),
            name=text_filter.kind.prog_name,
            expected_attach_type=file.attach_type,
        )
        try:
            program.bind_map(text_map)
        except OSError:
            program.close()
            raise
        return program


def text_of(program: Program) -> StoredText | None:
    """The text that *program* (borrowed) was loaded from, None if it was not loaded from one by `load`.

    The proof is that the text, assembled again, has the program's tag. It tells apart what differs in its
    instructions; whose program it is, the caller has to know.
    """
    info = program.info()
    stored = _stored(info.map_ids)
    if stored is None or (info.type, info.tag) not in _identities(stored):
        return None
    return stored


_known: dict[tuple[bytes, int | None], frozenset[tuple[ProgType, str]]] = {}
"""_identities by the SHA-256 of the text, and the cgroup: the longest text takes 50 ms, and is 64 KiB."""
_MOST_KNOWN = 4096


def _identities(stored: StoredText) -> frozenset[tuple[ProgType, str]]:
    """What a program of *stored* can be known by; nothing, if it is no filter."""
    key = hashlib.sha256(stored.text.encode()).digest(), stored.only_cgroup_id
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()  # while another thread may look for one
        found = _known[key] = _assembled_identities(stored)
    return found


def _assembled_identities(stored: StoredText) -> frozenset[tuple[ProgType, str]]:
    try:
        found = parse(stored.text)
        return frozenset((found.kind.prog_type, tag) for tag in assemble(found, stored.only_cgroup_id).tags())
    except OSError:
        return frozenset()


def _stored(map_ids: Sequence[int]) -> StoredText | None:
    """What a text map among *map_ids* says, whoever made it."""
    for map_id in map_ids:
        with Map.by_id(map_id) as candidate:
            info = candidate.info()
            if (info.name, info.type) != (TEXT_MAP, MapType.ARRAY) or not candidate.is_frozen():
                continue
            if not 0 < info.value_size - _HEADER.size <= MAX_TEXT_BYTES:
                continue
            value = candidate.lookup(_KEY.pack(0))
        if value is not None:
            (only_cgroup_id,) = _HEADER.unpack_from(value)
            return StoredText(value[_HEADER.size :].decode("ascii", "replace"), only_cgroup_id or None)
    return None


def counters(program: Program) -> Counters | None:
    """What *program* (borrowed) has counted; None if it has no counters like those of `load`."""
    for map_id in program.info().map_ids:
        with Map.by_id(map_id) as candidate:
            info = candidate.info()
            shape = info.type, info.value_size, info.max_entries
            if info.name == COUNTERS_MAP and shape == (MapType.PERCPU_ARRAY, _COUNTER.size, len(Counters._fields)):
                passed, dropped = (
                    sum(_COUNTER.unpack(value)[0] for value in candidate.lookup_per_cpu(_KEY.pack(verdict)))
                    for verdict in (_PASSED, _DROPPED)
                )
                return Counters(passed, dropped)
    return None


def describe(text: str) -> list[str]:
    """The filter in words, a line each. Raises OSError(EINVAL) if *text* is none."""
    return [*parse(text).kind.describe(text.partition(":")[2]), *not_covered(text)]


def not_covered(text: str) -> list[str]:
    """What *text*, a filter, does not see, in words, a line each."""
    return [f"not covered: {words}" for words in _KINDS[text.partition(":")[0]].not_covered]
