"""What bpftool says: the second opinion that the control files are compared with."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.programs import Hook

_NAMES = {
    Hook.INGRESS: {"ingress", "cgroup_inet_ingress"},
    Hook.EGRESS: {"egress", "cgroup_inet_egress"},
    Hook.SOCKET_CREATE: {"sock_create", "cgroup_inet_sock_create"},
}


def bpftool(*arguments: str | Path) -> Any:
    """bpftool's JSON answer; fails with its own words."""
    command = ["bpftool", "-j", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else None


def attached_ids(cgroup: Path, hook: Hook) -> list[int]:
    """The ids of the programs that `bpftool cgroup show` lists for *hook* of *cgroup* (a path on cgroup2)."""
    rows = bpftool("cgroup", "show", cgroup) or []
    return [row["id"] for row in rows if row["attach_type"] in _NAMES[hook]]


def program_tag(program_id: int) -> str:
    tag: str = bpftool("prog", "show", "id", str(program_id))["tag"]
    return tag
