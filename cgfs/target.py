"""A control file as it is worked on: its cgroup's directory, open, and its row in the table.

A node id leads to the directory, which is opened for each request and closed after it: nothing is held per cgroup.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass

from cgfs.cgroup import open_cgroup
from cgfs.control import CONTROL_FILES, ControlFile
from cgfs.mirror import ROOT_NODE, Mirror, split_control_node


@dataclass(frozen=True, slots=True)
class Target:
    """A control file of the cgroup with the id *cgroup_id*, whose directory is open as *cgroup_fd* (borrowed)."""

    cgroup_fd: int
    cgroup_id: int
    file: ControlFile


@contextlib.contextmanager
def opened(mirror: Mirror, node: int) -> Iterator[Target]:
    """The control file with that node id, its cgroup's directory open in the `with` block.

    Raises OSError: ENODEV if the cgroup is gone.
    """
    directory, index = split_control_node(node)
    cgroup_id = mirror.source_id if directory == ROOT_NODE else directory
    try:
        descriptor = open_cgroup(mirror.mount_fd, cgroup_id)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise OSError(errno.ENODEV, f"{CONTROL_FILES[index].name}: the cgroup has been removed") from None
    with descriptor:
        yield Target(descriptor.fd, cgroup_id, CONTROL_FILES[index])
