"""Container runtimes as on a machine with cgroup2 alone, a busybox bundle for them, and no trace afterwards.

The machine may have cgroup v1 beside cgroup2; runtimes then take v1 or refuse. So each runs in a mount namespace of its
own in which cgroup2 alone is mounted, at /sys/fs/cgroup. What a runtime switches on in the root's
cgroup.subtree_control is switched off again.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cgroups import cgroup2_mount
from tests.support.users import CONTAINER_IDS, CONTAINER_ROOT_ID

_CGROUP2_ALONE = """
for mount in $(findmnt -rno TARGET -t cgroup,cgroup2 | grep -v '^/sys/fs/cgroup'); do umount "$mount"; done
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/cgfs
mount --bind "$CGFS_MIRROR" /run/cgfs
exec "$@"
"""
APPLETS = ("sh", "cat", "echo", "grep", "id", "kill", "ls", "mkdir", "nc", "rmdir", "sleep")


def run_with_cgroup2_alone(
    command: Sequence[str | Path],
    mirror: Path,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run *command* where cgroup2 is at /sys/fs/cgroup and *mirror* at /run/cgfs. stderr goes to stdout."""
    unshare = ["unshare", "--mount", "--propagation", "private", "bash", "-ec", _CGROUP2_ALONE, "--"]
    return subprocess.run(
        [*unshare, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **(environment or {}), "CGFS_MIRROR": str(mirror)},
        timeout=80,
    )


@contextlib.contextmanager
def controllers_put_back() -> Iterator[None]:
    """What is switched on in the root's cgroup.subtree_control meanwhile is switched off at the end."""
    path = cgroup2_mount() / "cgroup.subtree_control"
    before = set(path.read_text().split())
    try:
        yield
    finally:
        for controller in set(path.read_text().split()) - before:
            path.write_text(f"-{controller}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An OCI bundle with a root file system of busybox and nothing else."""

    path: Path
    spec: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, path: Path) -> "Bundle":
        rootfs = path / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp", "cgfs"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", rootfs / "bin" / "busybox")
        for name in APPLETS:
            (rootfs / "bin" / name).symlink_to("busybox")
        subprocess.run(["runc", "spec"], cwd=path, check=True)
        spec = json.loads((path / "config.json").read_text())
        spec["process"]["terminal"] = False
        spec["root"]["readonly"] = False
        del spec["linux"]["resources"]
        return cls(path, spec)

    def configure(self, cgroup: str, script: str, mounts: list[dict[str, Any]], *, user_namespace: bool) -> None:
        """Write config.json: *cgroup* below the cgroup2 root, *mounts* in place of what was at their destinations."""
        spec = json.loads(json.dumps(self.spec))
        spec["process"]["args"] = ["sh", "-c", script]
        spec["linux"]["cgroupsPath"] = cgroup
        spec["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]
        if user_namespace:
            spec["linux"]["namespaces"].append({"type": "user"})
            mapping = [{"containerID": 0, "hostID": CONTAINER_ROOT_ID, "size": CONTAINER_IDS}]
            spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = mapping
        places = {"/sys/fs/cgroup", *(mount["destination"] for mount in mounts)}
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] not in places] + mounts
        (self.path / "config.json").write_text(json.dumps(spec))
        owner = CONTAINER_ROOT_ID if user_namespace else 0
        for directory, names, files in os.walk(self.path / "rootfs"):
            for name in (".", *names, *files):
                os.lchown(os.path.join(directory, name), owner, owner)

    def tar(self, archive: Path) -> None:
        subprocess.run(["tar", "-C", self.path / "rootfs", "-cf", archive, "."], check=True)


def bind(source: str, destination: str) -> dict[str, Any]:
    """A bind mount as config.json has it."""
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"]}


def podman_environment(directory: Path) -> dict[str, str]:
    """The configuration by which podman keeps everything below *directory* and needs no systemd."""
    storage, containers = directory / "storage.conf", directory / "containers.conf"
    storage.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n', encoding="utf-8"
    )
    containers.write_text(
        '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\ntmp_dir = "{directory}/tmp"\n',
        encoding="utf-8",
    )
    return {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers), "HOME": str(directory)}
