"""What /proc says of a program or map that is open, where bpf(2) does not. Source: bpf_prog_show_fdinfo() and
bpf_map_show_fdinfo() in kernel/bpf/syscall.c.
"""

from pathlib import Path


def fdinfo(fd: int) -> dict[str, str]:
    """The fields of *fd* (borrowed) by their names."""
    text = Path(f"/proc/thread-self/fdinfo/{fd}").read_text(encoding="ascii", errors="replace")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
