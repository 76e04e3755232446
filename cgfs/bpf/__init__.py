"""bpf(2) for Python, as far as cgroups' filters need it; typed, with one owner for each descriptor.

kernel.py      the kernel's types and flags
program.py     programs: load, find, describe, pin
map.py         maps: create, find, read, write, freeze, pin
attachment.py  what is attached to a cgroup, attach, replace, detach; links
object.py      ELF objects, with libbpf
fdinfo.py      what only /proc says of programs and maps

Knows nothing of control files. OSError is its only error. cffi data never leaves it.
"""

from cgfs.bpf.attachment import (
    AttachedProgram,
    AttachedPrograms,
    Link,
    attach,
    attached,
    check_hook,
    detach,
    detach_link,
    links,
    query,
)
from cgfs.bpf.kernel import AttachFlags, AttachType, MapType, ProgType
from cgfs.bpf.map import Map, MapInfo
from cgfs.bpf.object import ObjectProgram, load_object, load_object_bytes, programs_of_object
from cgfs.bpf.program import Program, ProgramInfo, VerifierError, program_info

__all__ = [
    "AttachFlags",
    "AttachType",
    "AttachedProgram",
    "AttachedPrograms",
    "Link",
    "Map",
    "MapInfo",
    "MapType",
    "ObjectProgram",
    "ProgType",
    "Program",
    "ProgramInfo",
    "VerifierError",
    "attach",
    "attached",
    "check_hook",
    "detach",
    "detach_link",
    "links",
    "load_object",
    "load_object_bytes",
    "program_info",
    "programs_of_object",
    "query",
]
