"""BPF programs as ELF objects, compiled by clang: what `cgfs attach` is given."""

import subprocess
from pathlib import Path

from tests.support.programs import ALLOW, DENY, Hook

SECTION = {
    Hook.INGRESS: "cgroup_skb/ingress",
    Hook.EGRESS: "cgroup_skb/egress",
    Hook.SOCKET_CREATE: "cgroup/sock_create",
}

_FUNCTION = '__attribute__((section("{section}"), used)) int {name}(void *context) {{ return {value}; }}\n'
_LICENSE = 'char _license[] __attribute__((section("license"), used)) = "GPL";\n'


def compile_object(path: Path, *programs: tuple[str, str, int]) -> Path:
    """An object at *path* with *programs*: section, name and what it returns."""
    return compile_source(path, "".join(_FUNCTION.format(section=s, name=n, value=v) for s, n, v in programs))


def compile_source(path: Path, source: str) -> Path:
    """An object at *path* of C functions and maps; the license is added."""
    command = ["clang", "-O2", "-g", "-target", "bpf", "-x", "c", "-c", "-", "-o", str(path)]
    subprocess.run(command, input=_LICENSE + source, text=True, check=True, timeout=60)
    return path


def compile_verdict(directory: Path, hook: Hook, value: int) -> Path:
    """An object with one program for *hook* that returns *value*."""
    name = {ALLOW: "allow", DENY: "deny"}[value]
    return compile_object(directory / f"{name}.o", (SECTION[hook], name, value))
