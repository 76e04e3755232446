"""Acts on attributes: modes, owners, times, access, extended attributes, and what stat and statfs say."""

import ctypes
import os
from pathlib import Path

from tests.mount.differential.acts import Descriptor, Scene, act, attempt, write

TARGETS = ("a", "a/cgroup.procs", "a/cgroup.max.depth", "roots", "roots/cgroup.procs")


def attributes(path: Path) -> tuple[object, ...]:
    found = path.stat()
    return oct(found.st_mode), found.st_uid, found.st_gid, found.st_nlink


for _target in (*TARGETS, "a/cgroup.events", "a/cgroup.kill", "a/cpu.pressure", "a/deep", "missing"):

    @act(f"stat {_target}", _target)
    def stat(scene: Scene, target: str) -> object:
        found = os.stat(scene.tree / target)
        return attributes(scene.tree / target), found.st_size, found.st_blksize, found.st_blocks, found.st_rdev

    @act(f"access to {_target}", _target)
    def access(scene: Scene, target: str) -> object:
        modes = (os.F_OK, os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.W_OK)
        return [os.access(scene.tree / target, mode, effective_ids=by) for mode in modes for by in (False, True)]


OWNERS = (
    *((-1, -1), (1000, -1), (1001, -1), (-1, 1000), (-1, 2000), (-1, 3000), (1000, 1000)),
    *((65534, 65534), (100000, 100000), (70000, 70000), (0, 0)),
)

for _target in TARGETS:

    @act(f"chmod {_target}", _target)
    def chmod(scene: Scene, target: str) -> object:
        def change(mode: int) -> object:
            os.chmod(scene.tree / target, mode)
            return attributes(scene.tree / target)

        return [attempt(change, mode) for mode in (0o000, 0o400, 0o666, 0o755, 0o6755, 0o1777, 0o644)]

    @act(f"chown {_target}", _target)
    def chown(scene: Scene, target: str) -> object:
        def change(uid: int, gid: int) -> object:
            os.chown(scene.tree / target, uid, gid)
            return attributes(scene.tree / target)

        return {owner: attempt(change, *owner) for owner in OWNERS}

    @act(f"chown {_target} drops set-id bits", _target)
    def chown_set_id(scene: Scene, target: str) -> object:
        os.chmod(scene.tree / target, 0o6775)
        os.chown(scene.tree / target, -1, os.getgid())
        return attributes(scene.tree / target)

    @act(f"fchmod {_target}", _target)
    def fchmod(scene: Scene, target: str) -> object:
        with Descriptor(scene.tree / target, os.O_RDONLY) as fd:
            os.fchmod(fd, 0o600)
            return oct(os.fstat(fd).st_mode)

    @act(f"fchown {_target}", _target)
    def fchown(scene: Scene, target: str) -> object:
        with Descriptor(scene.tree / target, os.O_RDONLY) as fd:
            os.fchown(fd, os.getuid(), os.getgid())
            return os.fstat(fd).st_uid, os.fstat(fd).st_gid

    @act(f"set the times of {_target}", _target)
    def utime(scene: Scene, target: str) -> object:
        os.utime(scene.tree / target, ns=(1_000_000_001, 2_000_000_002))
        found = os.stat(scene.tree / target)
        return found.st_atime_ns, found.st_mtime_ns

    @act(f"set the times of {_target} to now", _target)
    def utime_now(scene: Scene, target: str) -> object:
        attempt(os.utime, scene.tree / target, (1, 1))
        os.utime(scene.tree / target)
        return os.stat(scene.tree / target).st_mtime > 1_000_000

    for _attribute in ("user.note", "trusted.note", "security.note", "system.posix_acl_access", "note"):

        @act(f"set, get, list and remove {_attribute} on {_target}", _target, _attribute)
        def xattr(scene: Scene, target: str, name: str) -> object:
            path = scene.tree / target
            return [
                attempt(os.getxattr, path, name),
                attempt(os.setxattr, path, name, b"value"),
                attempt(os.getxattr, path, name),
                attempt(listed, path),
                attempt(os.removexattr, path, name),
                attempt(os.removexattr, path, name),
                attempt(listed, path),
            ]


def listed(path: Path | int) -> list[str]:
    """The extended attributes, without those of cgfs and of the security modules of the machine."""
    return sorted(name for name in os.listxattr(path) if not name.startswith(("trusted.cgfs", "security.selinux")))


@act("a mode that denies is obeyed at the next open")
def chmod_denies(scene: Scene) -> object:
    (scene.a / "cgroup.max.depth").chmod(0o444)
    first = attempt(write, scene.a / "cgroup.max.depth", b"1")
    (scene.a / "cgroup.max.depth").chmod(0o644)
    return first, attempt(write, scene.a / "cgroup.max.depth", b"1")


@act("a mode that denies reading is obeyed")
def chmod_denies_reading(scene: Scene) -> object:
    (scene.a / "cgroup.procs").chmod(0o200)
    return attempt(os.open, scene.a / "cgroup.procs", os.O_RDONLY) in ("EACCES",)


@act("group permission of a supplementary group")
def supplementary(scene: Scene) -> object:
    os.chown(scene.a / "cgroup.max.depth", -1, 2000)
    (scene.a / "cgroup.max.depth").chmod(0o464)
    return attempt(write, scene.a / "cgroup.max.depth", b"1"), oct((scene.a / "cgroup.max.depth").stat().st_mode)


@act("permission for others on a file of root")
def others(scene: Scene) -> object:
    results = []
    for name in ("cgroup.max.depth", "cgroup.freeze", "cgroup.procs"):
        results.append(attempt(write, scene.roots / name, b"0"))
        results.append(os.access(scene.roots / name, os.R_OK))
    return results


@act("xattr of size 0")
def xattr_empty(scene: Scene) -> object:
    os.setxattr(scene.a, "user.empty", b"")
    return os.getxattr(scene.a, "user.empty"), listed(scene.a)


for _size in (1, 100, 4096, 65536, 65537, 131072):

    @act(f"xattr of size {_size}", _size)
    def xattr_size(scene: Scene, size: int) -> object:
        os.setxattr(scene.a, "user.large", b"x" * size)
        return len(os.getxattr(scene.a, "user.large"))


@act("xattr flags")
def xattr_flags(scene: Scene) -> object:
    return [
        attempt(os.setxattr, scene.a, "user.flag", b"1", os.XATTR_REPLACE),
        attempt(os.setxattr, scene.a, "user.flag", b"1", os.XATTR_CREATE),
        attempt(os.setxattr, scene.a, "user.flag", b"2", os.XATTR_CREATE),
        attempt(os.setxattr, scene.a, "user.flag", b"3", os.XATTR_REPLACE),
        os.getxattr(scene.a, "user.flag"),
        attempt(os.setxattr, scene.a, "user.flag", b"4", 7),
    ]


@act("xattr name that is too long")
def xattr_name(scene: Scene) -> object:
    return [attempt(os.setxattr, scene.a, "user." + "x" * count, b"1") for count in (250, 251, 300)]


@act("more xattrs than there may be")
def xattr_count(scene: Scene) -> object:
    results = [attempt(os.setxattr, scene.b, f"user.{number}", b"1") for number in range(140)]
    return results, len(listed(scene.b))


@act("xattr with a buffer that is too small")
def xattr_range(scene: Scene) -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    os.setxattr(scene.a, "user.long", b"x" * 100)
    buffer = ctypes.create_string_buffer(10)
    got = libc.getxattr(os.fsencode(scene.a), b"user.long", buffer, ctypes.c_size_t(10)), ctypes.get_errno()
    size = libc.getxattr(os.fsencode(scene.a), b"user.long", None, ctypes.c_size_t(0))
    names = libc.listxattr(os.fsencode(scene.a), buffer, ctypes.c_size_t(3)), ctypes.get_errno()
    return got, size, names


@act("xattr by descriptor")
def xattr_descriptor(scene: Scene) -> object:
    with Descriptor(scene.a, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.setxattr(fd, "user.by-descriptor", b"1")
        return os.getxattr(fd, "user.by-descriptor"), listed(fd), listed(scene.a)


@act("inherited by what is made below: nothing")
def inherit(scene: Scene) -> object:
    scene.a.chmod(0o2777)
    os.setxattr(scene.a, "user.note", b"1")
    os.mkdir(scene.a / "new")
    files = {entry.name for entry in (scene.a / "new").iterdir() if not entry.name.endswith("_filter")}
    return (
        attributes(scene.a / "new"),
        listed(scene.a / "new"),
        [attributes(scene.a / "new" / n) for n in sorted(files)],
    )


@act("statvfs")
def statvfs(scene: Scene) -> object:
    found = os.statvfs(scene.a)
    return found.f_bsize, found.f_frsize, found.f_blocks, found.f_bfree, found.f_files, found.f_namemax


@act("statfs of a file")
def statvfs_file(scene: Scene) -> object:
    return os.statvfs(scene.a / "cgroup.procs").f_namemax


@act("pathconf")
def pathconf(scene: Scene) -> object:
    return [attempt(os.pathconf, scene.a, name) for name in ("PC_NAME_MAX", "PC_LINK_MAX", "PC_PATH_MAX")]


@act("stat of a removed directory that is open")
def stat_removed(scene: Scene) -> object:
    with Descriptor(scene.b, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir(scene.b)
        found = os.fstat(fd)
        return oct(found.st_mode), attempt(os.fchmod, fd, 0o700), attempt(os.setxattr, fd, "user.x", b"1")
