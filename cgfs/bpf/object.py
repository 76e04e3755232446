"""ELF objects with BPF programs, as clang makes them: what is in one, and loading a program of it with
libbpf.

Nothing of an object stays behind but the program: maps that ask to be pinned are made anew each time,
unpinned.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgfs._native import ffi, lib
from cgfs.bpf.kernel import AttachType, ProgType
from cgfs.bpf.program import Program, VerifierError, last_line


@dataclass(frozen=True, slots=True)
class ObjectProgram:
    """A program in an object. Its type is UNSPEC where the section's name does not say it."""

    index: int
    section: str
    name: str
    prog_type: ProgType
    expected_attach_type: int


def programs_of_object(content: bytes) -> list[ObjectProgram]:
    """The programs in the ELF object *content*, in its order. Raises OSError EINVAL if it is no such
    object.
    """
    with _opened(content, "object") as elf:
        return _programs(elf)


def load_object(
    path: Path,
    program: str | None = None,
    *,
    prog_type: ProgType | None = None,
    attach_type: AttachType | None = None,
) -> Program:
    """Load a program of the object file *path*. See load_object_bytes()."""
    try:
        content = path.read_bytes()
        return load_object_bytes(content, program, prog_type=prog_type, attach_type=attach_type, name=path.stem)
    except OSError as error:
        if error.filename is None:
            error.strerror = f"{path}: {error.strerror}"
        raise


def load_object_bytes(
    content: bytes,
    program: str | None = None,
    *,
    prog_type: ProgType | None = None,
    attach_type: AttachType | None = None,
    name: str = "object",
) -> Program:
    """Load one program of the ELF object *content*; the caller owns it then.

    *program* names its function or its section; without it the object must have a single program (of
    *prog_type*, if that is given). *prog_type* and *attach_type* say what a program is whose section's name
    does not.

    Raises VerifierError, or OSError: EINVAL if there is no such program, or it is of another type than
    *prog_type*.
    """
    with _opened(content, name) as elf:
        chosen = _choose(_programs(elf), program, prog_type)
        type_, expected = chosen.prog_type, chosen.expected_attach_type
        if type_ == ProgType.UNSPEC and prog_type is not None:
            type_, expected = prog_type, attach_type or 0
        result = lib.cgfs_object_load(elf, chosen.index, type_, expected)
        if result < 0:
            raise _error(elf, -result, f"loading the BPF program {chosen.name}")
        return Program(result)


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Any]:
    """The struct cgfs_object of *content*, inside the `with` block."""
    data = ffi.from_buffer(content)
    answer = ffi.new("struct cgfs_object **")
    result = lib.cgfs_object_open(data, len(content), name.encode(errors="surrogateescape"), answer)
    try:
        if result < 0:
            raise _error(answer[0], -result, "reading the ELF object")
        yield answer[0]
    finally:
        lib.cgfs_object_close(answer[0])


def _programs(elf: Any) -> list[ObjectProgram]:
    found: list[ObjectProgram] = []
    program = ffi.new("struct cgfs_object_program *")
    while lib.cgfs_object_program(elf, len(found), program) == 0:
        found.append(
            ObjectProgram(
                index=len(found),
                section=ffi.string(program.section).decode(errors="replace"),
                name=ffi.string(program.name).decode(errors="replace"),
                prog_type=ProgType(program.type),
                expected_attach_type=program.expected_attach_type,
            )
        )
    return found


def _choose(programs: list[ObjectProgram], name: str | None, prog_type: ProgType | None) -> ObjectProgram:
    named = [each for each in programs if name in (None, each.name)] or [
        each for each in programs if name == each.section
    ]
    fitting = [each for each in named if prog_type is None or each.prog_type in (prog_type, ProgType.UNSPEC)]
    if len(fitting) == 1:
        return fitting[0]
    listing = ", ".join(f"{each.section} ({each.name}, {each.prog_type.name.lower()})" for each in programs) or "none"
    wanted = "a program" if name is None else f"a program by the name of, or in section, {name}"
    kind = "" if prog_type is None else f" of type {prog_type.name.lower()}"
    problem = "more than one fits" if fitting else "there is none"
    raise OSError(errno.EINVAL, f"{wanted}{kind} is wanted, and {problem}; the object has: {listing}")


def _error(elf: Any, number: int, doing: str) -> OSError:
    """With what libbpf said; the verifier's log is in it."""
    said = "" if elf == ffi.NULL else ffi.string(lib.cgfs_object_log(elf)).decode(errors="replace")
    if "-- BEGIN PROG LOAD LOG --" in said:
        log = said.partition("-- BEGIN PROG LOAD LOG --\n")[2].partition("-- END PROG LOAD LOG --")[0]
        return VerifierError(number, f"{doing}: the kernel refuses it: {last_line(log)}", log)
    if number == errno.EPERM:
        return OSError(number, f"{doing}: this needs CAP_BPF and CAP_NET_ADMIN, or root")
    reasons = [line for line in said.splitlines() if line.strip() and "failed to load object" not in line]
    return OSError(number, f"{doing}: {reasons[-1] if reasons else os.strerror(number)}")
