"""CRIU's action script: the filters are saved beside the images, and put back before the process runs on.

CRIU runs the script with its environment: CRTOOLS_SCRIPT_ACTION names the stage, CRTOOLS_IMAGE_DIR the directory of the
images, CRTOOLS_INIT_PID the process. Only `post-dump` (the processes are still there, stopped) and `post-restore` (they
are there again, not yet running) concern filters; all other stages are none of ours, and succeed.
Source: CRIU's documentation, "Action scripts"; criu/action-scripts.c.
"""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cgfs.checkpoint.document import Document, from_json, to_json
from cgfs.checkpoint.save import save
from cgfs.durable import write_file
from cgfs.hierarchy import subtree

FILE = "cgfs.json"
"""The document's name among the images."""

SAVE = "post-dump"
RESTORE = "post-restore"


def act(
    environment: Mapping[str, str], shown_at: Callable[[Path], Path], restore: Callable[[Document, Path], None]
) -> None:
    """Do what the stage in *environment* wants with the cgroup of the process. *shown_at* says where a mirror has the
    cgroup that /proc/PID/cgroup calls so.

    Raises OSError: EINVAL if CRIU's environment is not there, else what saving or restoring gives.
    """
    action = environment.get("CRTOOLS_SCRIPT_ACTION")
    if action is None:
        raise OSError(errno.EINVAL, "CRTOOLS_SCRIPT_ACTION is not set: CRIU runs this, as its --action-script")
    if action not in (SAVE, RESTORE):
        return
    images, pid = environment.get("CRTOOLS_IMAGE_DIR"), environment.get("CRTOOLS_INIT_PID")
    if images is None or pid is None or not pid.isdecimal():
        raise OSError(errno.EINVAL, f"CRTOOLS_IMAGE_DIR and CRTOOLS_INIT_PID do not say where and who, at {action}")
    document = Path(images) / FILE
    path = cgroup_of(int(pid))
    if path == Path("/"):
        raise OSError(errno.EINVAL, f"process {pid} is in the root cgroup, and the filters below that are everybody's")
    cgroup = shown_at(path)
    if action == SAVE:
        write_file(document, to_json(save(cgroup, subtree(cgroup))).encode(), mode=0o600)
    elif document.exists():
        restore(from_json(document.read_bytes()), cgroup)


def cgroup_of(pid: int) -> Path:
    """The path of a process's cgroup in the cgroup2 hierarchy, from the root on (cgroups(7), /proc/PID/cgroup).

    Raises OSError: ENOENT if there is no such process.
    """
    for line in Path(f"/proc/{pid}/cgroup").read_bytes().split(b"\n"):
        if line.startswith(b"0::"):
            return Path(os.fsdecode(line.removeprefix(b"0::")))
    raise OSError(errno.ENOENT, f"process {pid} is in no cgroup2 hierarchy")
