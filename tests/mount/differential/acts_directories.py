"""Acts on directories: make, remove, list, walk, and what cgroup2 refuses."""

import os
import socket
import stat
from pathlib import Path

from tests.mount.differential.acts import Descriptor, Scene, act, attempt, write


def names(path: Path | int) -> list[str]:
    """What is in a directory, without the control files, which cgroup2 does not have."""
    found = (os.fsdecode(name) for name in os.listdir(path))
    return sorted(name for name in found if not name.endswith("_filter"))


for _umask in (0, 0o022, 0o077):

    @act(f"mkdir with umask {_umask:o}", _umask)
    def mkdir_mode(scene: Scene, umask: int) -> object:
        os.umask(umask)
        modes = (0o755, 0o700, 0o777, 0o000, 0o2755, 0o1777, 0o7777)
        for mode in modes:
            os.mkdir(scene.a / f"new{mode:o}", mode)
        return [oct((scene.a / f"new{mode:o}").stat().st_mode) for mode in modes]


for _name in (
    "with space",
    "ümlaut",
    "x" * 254,
    "x" * 255,
    "new\nline",
    "cgroup.new",
    "cgroup.procs",
    "cgroup.procs.d",
    "a\\b",
    "-",
    "tab\t",
    "..x",
    "%d",
    "memory.max",
    "deep",
):

    @act(f"mkdir name {_name!r:.24} ({len(_name)})", _name)
    def mkdir_name(scene: Scene, name: str) -> object:
        os.mkdir(scene.a / name)
        return names(scene.a), names(scene.a / name)


@act("mkdir name that is not UTF-8")
def mkdir_bytes(scene: Scene) -> object:
    os.mkdir(os.fsencode(scene.a) + b"/\xff\xfe")
    return b"\xff\xfe" in os.listdir(os.fsencode(scene.a))


@act("mkdir at a descriptor")
def mkdir_at(scene: Scene) -> object:
    with Descriptor(scene.a, os.O_PATH | os.O_DIRECTORY) as fd:
        os.mkdir("new", dir_fd=fd)
        return names(scene.a / "new")


for _label, _path in {
    "missing parent": "missing/new",
    "below a file": "a/cgroup.procs/new",
    "in a directory of root": "roots/new",
    "outside": "../../outside/{}",
    "trailing slash": "a/new/",
    "dot": "a/.",
    "dot dot": "a/..",
    "empty path": "",
}.items():

    @act(f"mkdir {_label}", _path)
    def mkdir_path(scene: Scene, path: str) -> object:
        os.chdir(scene.tree)
        os.mkdir(path.format(scene.tree.name))
        return names(scene.a)

    @act(f"rmdir {_label}", _path)
    def rmdir_path(scene: Scene, path: str) -> object:
        os.chdir(scene.tree)
        attempt(os.mkdir, path.format(scene.tree.name))
        os.rmdir(path.format(scene.tree.name))
        return names(scene.a)


@act("mkdir beyond cgroup.max.depth")
def mkdir_too_deep(scene: Scene) -> object:
    write(scene.a / "cgroup.max.depth", b"1")
    os.mkdir(scene.deep / "deeper")
    return None


@act("mkdir beyond cgroup.max.descendants")
def mkdir_too_many(scene: Scene) -> object:
    write(scene.a / "cgroup.max.descendants", b"2")
    os.mkdir(scene.a / "second")
    return attempt(os.mkdir, scene.a / "third"), names(scene.a)


@act("mkdir and rmdir a hundred times the same name")
def mkdir_again(scene: Scene) -> object:
    for _ in range(100):
        os.mkdir(scene.a / "again")
        os.rmdir(scene.a / "again")
    return names(scene.a)


@act("rmdir empty")
def rmdir_empty(scene: Scene) -> object:
    os.rmdir(scene.b)
    return scene.b.exists(), names(scene.tree)


@act("rmdir with a child")
def rmdir_parent(scene: Scene) -> object:
    os.rmdir(scene.a)
    return None


@act("rmdir with a process")
def rmdir_populated(scene: Scene) -> object:
    write(scene.b / "cgroup.procs", str(scene.mine).encode())
    os.rmdir(scene.b)
    return None


@act("rmdir twice")
def rmdir_twice(scene: Scene) -> object:
    os.rmdir(scene.b)
    os.rmdir(scene.b)
    return None


@act("rmdir of a file")
def rmdir_file(scene: Scene) -> object:
    os.rmdir(scene.b / "cgroup.procs")
    return None


@act("rmdir of root's directory")
def rmdir_roots(scene: Scene) -> object:
    os.rmdir(scene.roots)
    return names(scene.tree)


@act("rmdir while it is the working directory")
def rmdir_cwd(scene: Scene) -> object:
    os.chdir(scene.b)
    os.rmdir(scene.b)
    return (
        attempt(os.getcwd),
        attempt(os.listdir, "."),
        attempt(os.mkdir, "x"),
        attempt(os.stat, "cgroup.procs"),
    )


@act("rmdir while it is open")
def rmdir_open(scene: Scene) -> object:
    with Descriptor(scene.b, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir(scene.b)
        opened = attempt(os.open, "cgroup.procs", os.O_RDONLY, dir_fd=fd)
        return opened, attempt(os.mkdir, "x", dir_fd=fd), attempt(names, fd), os.fstat(fd).st_nlink


@act("a removed name made again is another cgroup")
def recreate(scene: Scene) -> object:
    before = scene.b.stat().st_ino
    write(scene.b / "cgroup.max.depth", b"7")
    os.rmdir(scene.b)
    os.mkdir(scene.b)
    return scene.b.stat().st_ino != before, (scene.b / "cgroup.max.depth").read_bytes()


@act("unlink of a file")
def unlink_file(scene: Scene) -> object:
    os.unlink(scene.b / "cgroup.procs")
    return None


@act("unlink of a directory")
def unlink_directory(scene: Scene) -> object:
    os.unlink(scene.b)
    return None


@act("unlink of what is not there")
def unlink_missing(scene: Scene) -> object:
    os.unlink(scene.b / "missing")
    return None


for _label, (_old, _new) in {
    "directory": ("b", "c"),
    "directory over directory": ("b", "a/deep"),
    "directory into directory": ("b", "a/b"),
    "file": ("b/cgroup.procs", "b/x"),
    "missing": ("missing", "x"),
    "onto itself": ("b", "b"),
    "into its own child": ("a", "a/deep/a"),
}.items():

    @act(f"rename {_label}", _old, _new)
    def rename(scene: Scene, old: str, new: str) -> object:
        os.rename(scene.tree / old, scene.tree / new)
        return names(scene.tree)


@act("hard link")
def link(scene: Scene) -> object:
    os.link(scene.a / "cgroup.procs", scene.a / "x")
    return None


@act("hard link over an existing name")
def link_existing(scene: Scene) -> object:
    os.link(scene.a / "cgroup.procs", scene.a / "cgroup.type")
    return None


@act("symbolic link")
def symlink(scene: Scene) -> object:
    os.symlink("target", scene.a / "x")
    return None


for _label, _kind in {"fifo": stat.S_IFIFO, "regular file": stat.S_IFREG, "socket": stat.S_IFSOCK}.items():

    @act(f"mknod {_label}", _kind)
    def mknod(scene: Scene, kind: int) -> object:
        os.mknod(scene.a / "x", kind | 0o644)
        return None


@act("mknod over an existing name")
def mknod_existing(scene: Scene) -> object:
    os.mknod(scene.a / "cgroup.procs", stat.S_IFIFO | 0o644)
    return None


@act("mknod character device")
def mknod_device(scene: Scene) -> object:
    os.mknod(scene.a / "x", stat.S_IFCHR | 0o644, os.makedev(1, 3))
    return None


@act("bind a socket")
def bind(scene: Scene) -> object:
    os.chdir(scene.a)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("x")
    return None


@act("readlink of a file")
def readlink(scene: Scene) -> object:
    return os.readlink(scene.a / "cgroup.procs")


@act("list")
def list_tree(scene: Scene) -> object:
    return names(scene.tree), names(scene.a), names(scene.roots)


@act("list with types")
def scan(scene: Scene) -> object:
    with os.scandir(scene.a) as entries:
        found = [(e.name, e.is_dir(), e.is_file(), e.inode() == e.stat().st_ino) for e in entries]
    return sorted(row for row in found if not row[0].endswith("_filter"))


@act("list twice from one descriptor")
def list_twice(scene: Scene) -> object:
    with Descriptor(scene.a, os.O_RDONLY | os.O_DIRECTORY) as fd:
        return names(fd) == names(fd)


@act("list sees what is made meanwhile")
def list_meanwhile(scene: Scene) -> object:
    with Descriptor(scene.a, os.O_RDONLY | os.O_DIRECTORY) as fd:
        before = names(fd)
        os.mkdir(scene.a / "new")
        after = names(fd)
        os.rmdir(scene.a / "new")
        return sorted(set(after) - set(before)), names(fd) == before


@act("walk")
def walk(scene: Scene) -> object:
    found = ((os.path.relpath(top, scene.tree), sorted(dirs)) for top, dirs, _ in os.walk(scene.tree))
    return sorted(found)


DIRECTORY_FLAGS = {
    "read": os.O_RDONLY,
    "read as directory": os.O_RDONLY | os.O_DIRECTORY,
    "write": os.O_WRONLY,
    "read and write": os.O_RDWR,
    "create": os.O_CREAT | os.O_RDONLY,
    "create exclusively": os.O_CREAT | os.O_EXCL | os.O_WRONLY,
    "truncate": os.O_TRUNC | os.O_RDONLY,
    "temporary file": os.O_TMPFILE | os.O_WRONLY,
    "path": os.O_PATH,
    "no access time": os.O_NOATIME,
}

for _where in ("a", "roots", "a/missing", "a/cgroup.procs/missing"):

    @act(f"open the directory {_where} in every way", _where)
    def open_directory(scene: Scene, where: str) -> object:
        def try_out(flags: int) -> object:
            with Descriptor(scene.tree / where, flags) as fd:
                return stat.S_ISDIR(os.fstat(fd).st_mode), attempt(os.read, fd, 10), attempt(os.fsync, fd)

        return {how: attempt(try_out, flags) for how, flags in DIRECTORY_FLAGS.items()}


@act("a directory without search permission")
def no_search(scene: Scene) -> object:
    scene.a.chmod(0o600)
    found = attempt(names, scene.a), attempt(os.stat, scene.deep), attempt(os.chdir, scene.a)
    scene.a.chmod(0o755)
    return found[0], isinstance(found[1], os.stat_result) or found[1], found[2]


@act("a directory without read permission")
def no_read(scene: Scene) -> object:
    scene.a.chmod(0o300)
    found = attempt(names, scene.a), scene.deep.is_dir(), attempt(os.mkdir, scene.a / "new")
    scene.a.chmod(0o755)
    return found


@act("a directory without write permission")
def no_write(scene: Scene) -> object:
    scene.a.chmod(0o555)
    return attempt(os.mkdir, scene.a / "new"), attempt(os.rmdir, scene.deep), names(scene.a)


@act("change directory and back by ..")
def chdir(scene: Scene) -> object:
    os.chdir(scene.deep)
    os.chdir("..")
    here = Path.cwd() == scene.a
    os.chdir("../..")
    return here, Path.cwd() == scene.tree.parent
