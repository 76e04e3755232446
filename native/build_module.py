"""Writes the C source of the compiled module `cgfs._native` to the path given as argument.

The declarations Python may use stand in cdef/NAME.h, one file for each native header NAME.h: a cdef is the part
of the header that cffi can parse, with the constants' values taken from the header at compile time (`...`).
"""

import sys
from pathlib import Path

import cffi

NATIVE = Path(__file__).parent


def main(output: str) -> None:
    ffi = cffi.FFI()
    cdefs = sorted((NATIVE / "cdef").glob("*.h"))
    for cdef in cdefs:
        ffi.cdef(cdef.read_text(encoding="utf-8"))
    places = ("", "mirror/", "include/")
    headers = [place + cdef.name for cdef in cdefs for place in places if (NATIVE / place / cdef.name).exists()]
    ffi.set_source("cgfs._native", "".join(f'#include "{header}"\n' for header in headers))
    ffi.emit_c_code(output)


if __name__ == "__main__":
    main(sys.argv[1])
