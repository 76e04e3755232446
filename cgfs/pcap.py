"""tcpdump's filter language to classic BPF, by libpcap.

It owns the calls of libpcap, found when they are first needed: only who compiles an expression needs the
library. It must run in the process of the person who wrote the expression (the command line), never in the
daemon: libpcap's parser is large, it reads /etc/services, and a host's name in an expression is asked of the
DNS.

The link type is RAW: a packet begins at its IP header, as it does for a cgroup's filter. Sources:
pcap-filter(7), pcap_compile(3PCAP), pcap/bpf.h, pcap/dlt.h.
"""

import ctypes
import errno
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from cgfs import cbpf
from cgfs.errors import shortened

_LIBRARIES = ("libpcap.so.0.8", "libpcap.so.1")  # Debian's name, and everybody else's
_DLT_RAW = 12
_SNAPLEN = 262144  # what an accepting program returns: tcpdump's own default
_OPTIMIZE = 1
_NETMASK_UNKNOWN = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compile_expression(expression: str) -> cbpf.Program:
    """The classic program of *expression*, tcpdump's language.

    Raises OSError: EINVAL with libpcap's own words if it is none, E2BIG if it takes too many instructions, ELIBACC if
    libpcap is not installed.
    """
    if not expression.strip() or "\0" in expression:
        raise OSError(errno.EINVAL, "no expression: write one as for tcpdump, such as 'tcp dst port 443'")
    shown, library = repr(shortened(expression)), _libpcap()
    with _handle(library) as handle:
        program = _Program()
        source = expression.encode(errors="surrogateescape")
        if library.pcap_compile(handle, ctypes.byref(program), source, _OPTIMIZE, _NETMASK_UNKNOWN) != 0:
            reason = library.pcap_geterr(handle).decode(errors="replace")
            raise OSError(errno.EINVAL, f"libpcap refuses {shown} for IP packets: {reason}")
        try:
            if program.length > cbpf.MAX_INSTRUCTIONS:
                words = f"{shown} takes {program.length} instructions, and a filter has at most {cbpf.MAX_INSTRUCTIONS}"
                raise OSError(errno.E2BIG, words)
            instructions = program.instructions[: program.length]
            lines = [f"{insn.code} {insn.jt} {insn.jf} {insn.k}" for insn in instructions]
        finally:
            library.pcap_freecode(ctypes.byref(program))
    try:
        return cbpf.parse(",".join((str(len(lines)), *lines)))
    except OSError as error:
        raise OSError(error.errno, f"{shown} cannot be a cgroup's filter: {error.strerror}") from None


@contextmanager
def _handle(library: ctypes.CDLL) -> Iterator[ctypes.c_void_p]:
    handle = ctypes.c_void_p(library.pcap_open_dead(_DLT_RAW, _SNAPLEN))
    if not handle:
        raise OSError(errno.ENOMEM, "libpcap has no memory")
    try:
        yield handle
    finally:
        library.pcap_close(handle)


@functools.cache
def _libpcap() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_geterr.restype = ctypes.c_char_p
        library.pcap_compile.argtypes = (
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32
        )  # fmt: skip
        return library
    raise OSError(errno.ELIBACC, "libpcap, which compiles expressions, is missing: apt install libpcap0.8")
