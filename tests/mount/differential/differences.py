"""Where the mirror is not like cgroup2, and why: the one table, which the README shows too."""

from dataclasses import dataclass
from enum import Enum

from tests.mount.differential.acts_files import WRITABLE


class Reads(Enum):
    """How a mirrored file is read: by the kernel on cgroup2 itself, or by the daemon (`-o nopassthrough`)."""

    PASS_THROUGH = "passthrough"
    BY_THE_DAEMON = "nopassthrough"


@dataclass(frozen=True, slots=True)
class Difference:
    """*what* the mirror does otherwise and *why*.

    *acts* show it (none: it depends on the moment, and no act shows it for sure), for *actors* (none: for all), on
    mounts with *reads* (None: with both).
    """

    what: str
    why: str
    acts: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    reads: Reads | None = None

    def concerns(self, actor: str, act: str, reads: Reads) -> bool:
        of_actor = not self.actors or actor in self.actors
        return act in self.acts and of_actor and self.reads in (None, reads)


_READ_ONLY = ("cgroup.controllers", "cgroup.events", "cgroup.stat", "cpu.stat")
_OF_ROOT = ("roots", "roots/cgroup.procs")
_NOT_ROOT = ("delegate", "delegate with a capability", "container")

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "statfs(2) has FUSE's magic number, and the type of the mount is fuse.cgfs",
        "the kernel says so of any FUSE mount; programs that insist on cgroup2's (systemd, crun, libcgroup) do not "
        "take the mirror for the host's /sys/fs/cgroup",
        ("statfs magic", "the type of the mount"),
    ),
    Difference(
        "clone3(2) with CLONE_INTO_CGROUP fails with EBADF",
        "the kernel takes a descriptor of cgroup2 itself only",
        ("clone into a cgroup by descriptor",),
    ),
    Difference(
        "bpf(2), and so `bpftool cgroup`, fails with EBADF",
        "the kernel takes a descriptor of cgroup2 itself only; the control files are there instead",
        ("query the programs of a cgroup by descriptor",),
        actors=("root",),
    ),
    Difference(
        "name_to_handle_at(2) gives a handle of FUSE's form",
        "the kernel makes it; the cgroup's id is the inode number, there and here",
        ("handle by name_to_handle_at",),
    ),
    Difference(
        "a capability that is held in another user namespace than the initial one counts for nothing: the modes of "
        "files, their owners and the plain limits decide",
        "cgfs acts with the caller's ids, and the kernel knows no way to act with somebody else's user namespace",
        (
            *(f"chown {path}" for path in ("a", "a/cgroup.procs", "a/cgroup.max.depth")),
            *(f"open a/{name} in every way" for name in (*_READ_ONLY, "cgroup.kill")),
            "read while open for writing",
            *(f"write to {name}" for name in ("cgroup.controllers", "cgroup.events", "cpu.stat")),
            *(f"write to {name}" for name in ("cpu.pressure", "memory.pressure")),
            "a directory without write permission",
            "a mode that denies is obeyed at the next open",
            "group permission of a supplementary group",
            "what was opened before the permission went stays open",
        ),
        actors=("container",),
    ),
    Difference(
        "who opens or writes by a thread of io_uring's (IOSQE_ASYNC, SQPOLL) has no capabilities and no supplementary "
        "groups",
        "such a thread acts under the credentials of whoever has submitted the request, and the kernel says only what "
        "the thread had when it was made",
    ),
    Difference(
        "offsets of 2 GiB and more can be sought, where cgroup2 says EINVAL",
        "FUSE's largest file size is another",
        ("seek to far",),
    ),
    Difference(
        "removing a POSIX ACL from somebody else's file is EPERM, where cgroup2 says EOPNOTSUPP",
        "the kernel asks for permission before it asks whether there are ACLs",
        tuple(
            f"set, get, list and remove system.posix_acl_access on {path}" for path in ("roots", "roots/cgroup.procs")
        ),
        actors=_NOT_ROOT,
    ),
    Difference(
        "the first poll(2) of an open file reports a change (POLLERR, POLLPRI), also where there is none",
        "cgfs does not see what a descriptor has read before; a wake-up may come for nothing, and is never lost",
        ("poll",),
        reads=Reads.PASS_THROUGH,
    ),
    Difference(
        "with `-o nopassthrough`, or before Linux 6.9: a mirrored file is as long as its content, where cgroup2 says "
        "0, and a private mmap(2) succeeds",
        "the kernel serves sendfile(2) and splice(2), as `busybox cat` calls them, from its page cache, which ends at "
        "the size",
        (
            *(f"stat a/{name}" for name in ("cgroup.events", "cgroup.max.depth", "cpu.pressure")),
            *(f"seek to {where}" for where in ("end", "before the end", "data", "hole")),
            *(f"copy_file_range from {name}" for name in ("cgroup.freeze", "cgroup.max.depth")),
            *(f"map {name} into memory" for name in WRITABLE),
        ),
        reads=Reads.BY_THE_DAEMON,
    ),
    Difference(
        "a cgroup that others make, remove or change on cgroup2 is seen here within 100 milliseconds, not at once; "
        "until then mkdir(2) and the like in one that was removed, also if it was made anew, and a listing, may be "
        "ESTALE",
        "the kernel has to be told to forget what it knows of the mirror",
    ),
    Difference(
        "sendfile(2) and splice(2) from a descriptor of cgroup.procs, cgroup.threads, cgroup.subtree_control, "
        "cgroup.type or a pressure file that is open for reading *and* writing end too early",
        "its reads and writes come to cgfs, and then the kernel splices from its page cache, which ends at the size, "
        "0; read(2) is whole",
        ("read by sendfile what is open for reading and writing",),
        reads=Reads.PASS_THROUGH,
    ),
    Difference(
        "a change that poll(2) has reported is reported until the process that polls has read the file with read(2), "
        "not by sendfile(2), and not by another process that shares its descriptor",
        "of reads that the kernel does by itself cgfs learns the process and the file only",
    ),
    Difference(
        "of what others do on cgroup2, inotify shows IN_MODIFY of an `*.events` file for sure while the file is open "
        "here; IN_CREATE and IN_DELETE not where somebody here has seen the new cgroup first, or where one is removed "
        "and made anew at once; no IN_ATTRIB; and nothing on a mirror mounted read-only",
        "FUSE has no message for events: cgfs does on the mirror itself what raises them",
    ),
    Difference(
        "a directory that others removed while it was open here has no attributes any more: ESTALE or ENOENT; nor has "
        "a control file whose cgroup was removed while it was open",
        "cgroup2 can be asked for them by those only who had it open there",
    ),
    Difference(
        "a cgroup that has a control file's name, which it can have been given on cgroup2 only, is not to be seen, nor "
        "what is in it",
        "the control file is there",
    ),
    Difference(
        "32-bit programs without large file support get EOVERFLOW from stat(2) of a control file and for a directory's "
        "listing",
        "the inode numbers of control files, and their places in the listing, are above cgroup2's own",
    ),
    Difference(
        "the open of a file that is being removed, with its cgroup or as a pressure file that is switched off, may be "
        "EIO or ESTALE, not ENOENT or ENODEV; chmod(2) and the like may be ESTALE",
        "the kernel opens cgroup2's file itself, after it was told which, and says EIO if it cannot; and what is not "
        "there it looks for once more only",
    ),
    Difference(
        "where cgroup2 is mounted read-only and the mirror is not, a change that would fail anyway fails with that "
        "errno, ENOENT or EACCES for one, not EROFS",
        "the kernel asks whether the mount is read-only first, and cgfs last; `-o ro` makes the mirror read-only as "
        "well",
    ),
)


def as_markdown() -> str:
    """The table as the README has it."""
    rows = [f"| {row.what} | {row.why} |" for row in DIFFERENCES]
    return "\n".join(["| on the mirror | because |", "|---|---|", *rows])
