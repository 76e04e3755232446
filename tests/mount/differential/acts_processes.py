"""Acts that move processes and threads: who may, whose pids, and what the files then say."""

import os
import threading
from collections.abc import Callable

from tests.mount.differential.acts import Descriptor, Scene, act, attempt, read, write
from tests.support.cgroups import cgroup_of
from tests.support.waiting import until

FILES = ("cgroup.procs", "cgroup.threads")


def own_place(scene: Scene) -> str:
    """The actor's cgroup, below the one that both sides call base."""
    return os.path.relpath(cgroup_of(), scene_base())


def scene_base() -> str:
    """The base of this side as /proc/self/cgroup names it: `/` in a cgroup namespace."""
    here = cgroup_of().split("/")
    inside = [number for number, name in enumerate(here) if name.startswith("tree-")]
    return "/".join(here[: inside[0]] if inside else here[:-1]) or "/"


def place(scene: Scene) -> object:
    return (
        own_place(scene),
        scene.roles(read(scene.a / "cgroup.procs")),
        scene.roles(read(scene.b / "cgroup.procs")),
    )


@act("move itself by 0")
def move_zero(scene: Scene) -> object:
    write(scene.a / "cgroup.procs", b"0")
    return place(scene)


@act("move itself by its pid")
def move_own_pid(scene: Scene) -> object:
    write(scene.a / "cgroup.procs", str(os.getpid()).encode())
    return place(scene)


@act("move itself with a newline")
def move_newline(scene: Scene) -> object:
    write(scene.a / "cgroup.procs", b"0\n")
    return place(scene)


@act("move itself twice and back")
def move_twice(scene: Scene) -> object:
    write(scene.a / "cgroup.procs", b"0")
    write(scene.deep / "cgroup.procs", b"0")
    inner = place(scene), scene.roles(read(scene.deep / "cgroup.procs"))
    write(scene.home / "cgroup.procs", b"0")
    return inner, place(scene)


for _label, _target in {
    "delegated": "a",
    "root's": "roots",
    "outside": "../../outside",
    "missing": "missing",
}.items():

    @act(f"move itself into a cgroup: {_label}", _target)
    def move_into(scene: Scene, target: str) -> object:
        write(scene.tree / target / "cgroup.procs", b"0")
        return cgroup_of().rsplit("/", 1)[-1]

    @act(f"move a child into a cgroup: {_label}", _target)
    def move_child_into(scene: Scene, target: str) -> object:
        write(scene.tree / target / "cgroup.procs", str(scene.mine).encode())
        return scene.roles(read(scene.tree / target / "cgroup.procs"))

    @act(f"move a foreign process into a cgroup: {_label}", _target)
    def move_foreign_into(scene: Scene, target: str) -> object:
        write(scene.tree / target / "cgroup.procs", str(scene.foreign).encode())
        return scene.roles(read(scene.tree / target / "cgroup.procs"))

    @act(f"read the processes of a cgroup: {_label}", _target)
    def read_processes(scene: Scene, target: str) -> object:
        return scene.roles(read(scene.tree / target / "cgroup.procs"))


@act("move a child in and out")
def move_child_back(scene: Scene) -> object:
    for target in (scene.a, scene.deep, scene.b, scene.home):
        write(target / "cgroup.procs", str(scene.mine).encode())
    return place(scene), scene.roles(read(scene.home / "cgroup.procs"))


@act("read the processes of home")
def read_home(scene: Scene) -> object:
    return scene.roles(read(scene.home / "cgroup.procs")), scene.roles(read(scene.home / "cgroup.threads"))


@act("read pids through a descriptor for reading and writing")
def read_both_ways(scene: Scene) -> object:
    with Descriptor(scene.a / "cgroup.procs", os.O_RDWR) as fd:
        before = os.read(fd, 100)
        os.write(fd, b"0")
        after = os.pread(fd, 100, 0)
        return before, scene.roles(after)


@act("read pids in pieces")
def read_pieces(scene: Scene) -> object:
    write(scene.b / "cgroup.procs", b"0")
    write(scene.b / "cgroup.procs", str(scene.mine).encode())
    with Descriptor(scene.b / "cgroup.procs", os.O_RDONLY) as fd:
        text = b"".join(iter(lambda: os.read(fd, 3), b""))
    with Descriptor(scene.b / "cgroup.procs", os.O_RDWR) as fd:
        both = b"".join(iter(lambda: os.read(fd, 3), b""))
    return scene.roles(text), scene.roles(both)


@act("several writes through one descriptor")
def several_writes(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.procs", os.O_WRONLY) as fd:
        results = [attempt(os.write, fd, text) for text in (b"x", b"0", str(scene.mine).encode(), b"4194304")]
    return results, scene.roles(read(scene.b / "cgroup.procs"))


@act("append to cgroup.procs")
def append(scene: Scene) -> object:
    write(scene.b / "cgroup.procs", b"0", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return scene.roles(read(scene.b / "cgroup.procs"))


for _form in (
    "{:#x}",
    "{:#X}",
    "0{:o}",
    "{:#o}",
    "+{}",
    " {}",
    "{} ",
    "{}\n\n",
    "{}\0",
    "{}x",
    "{} {}",
    "00{:o}",
    "{}.0",
):

    @act(f"move a child by its pid as {_form!r}", _form)
    def move_number(scene: Scene, form: str) -> object:
        written = attempt(write, scene.b / "cgroup.procs", form.format(scene.mine, scene.mine).encode())
        return isinstance(written, int) or written, scene.roles(read(scene.b / "cgroup.procs"))


@act("move a process that the kernel moves for nobody")
def move_kthreadd(scene: Scene) -> object:
    write(scene.a / "cgroup.procs", b"2")
    return None


@act("processes in a threaded cgroup")
def threaded(scene: Scene) -> object:
    write(scene.a / "cgroup.type", b"threaded")
    found = [attempt(read, each / "cgroup.type") for each in (scene.tree, scene.a, scene.deep, scene.b)]
    return found, attempt(read, scene.a / "cgroup.procs"), attempt(write, scene.deep / "cgroup.procs", b"0")


@act("threads of a process that is not in the threaded domain")
def thread_of_elsewhere(scene: Scene) -> object:
    write(scene.a / "cgroup.type", b"threaded")
    write(scene.a / "cgroup.threads", b"0")
    return None


def with_second_thread(function: Callable[[int], object]) -> object:
    """Call *function* with the tid of a second thread of the actor; the thread is gone when this returns."""
    tids: list[int] = []
    started, end = threading.Event(), threading.Event()

    def body() -> None:
        tids.append(threading.get_native_id())
        started.set()
        end.wait()

    thread = threading.Thread(target=body)
    thread.start()
    started.wait()
    try:
        return function(tids[0])
    finally:
        end.set()
        thread.join()
        until(lambda: len(os.listdir("/proc/self/task")) == 1, "the thread is gone")


@act("move a thread")
def move_thread(scene: Scene) -> object:
    def move(tid: int) -> object:
        write(scene.tree / "cgroup.procs", b"0")
        write(scene.a / "cgroup.type", b"threaded")
        write(scene.a / "cgroup.threads", str(tid).encode())
        threads = [len(read(each / "cgroup.threads").split()) for each in (scene.tree, scene.a)]
        both = attempt(read, scene.a / "cgroup.threads", os.O_RDWR)
        same = isinstance(both, bytes) and both == read(scene.a / "cgroup.threads")
        back = attempt(write, scene.tree / "cgroup.threads", str(tid).encode())
        return threads, same, back, [attempt(read, each / "cgroup.type") for each in (scene.tree, scene.a)]

    return with_second_thread(move)


@act("move the thread that writes")
def move_writing_thread(scene: Scene) -> object:
    def move(_: int) -> object:
        write(scene.tree / "cgroup.procs", b"0")
        write(scene.a / "cgroup.type", b"threaded")
        moved = attempt(write, scene.a / "cgroup.threads", b"0")
        inside = read(scene.a / "cgroup.threads").split() == [str(os.getpid()).encode()]
        write(scene.tree / "cgroup.threads", b"0")
        return moved, inside

    return with_second_thread(move)


@act("move a process by the tid of a second thread")
def move_by_tid(scene: Scene) -> object:
    def move(tid: int) -> object:
        result = attempt(write, scene.a / "cgroup.procs", str(tid).encode())
        return result, scene.roles(read(scene.a / "cgroup.procs"))

    return with_second_thread(move)


@act("move into a frozen cgroup and out")
def frozen(scene: Scene) -> object:
    write(scene.b / "cgroup.freeze", b"1")
    write(scene.b / "cgroup.procs", str(scene.mine).encode())
    until(lambda: b"frozen 1" in read(scene.b / "cgroup.events"), "the child is frozen")
    inside = scene.roles(read(scene.b / "cgroup.procs"))
    write(scene.home / "cgroup.procs", str(scene.mine).encode())
    return inside, scene.roles(read(scene.b / "cgroup.procs"))


@act("a process that exits leaves no pid")
def exited(scene: Scene) -> object:
    child = os.fork()
    if child == 0:
        os._exit(0 if attempt(write, scene.b / "cgroup.procs", b"0") == 1 else 1)
    _, status = os.waitpid(child, 0)
    until(lambda: b"populated 0" in read(scene.b / "cgroup.events"), "the process has left")
    return os.waitstatus_to_exitcode(status), read(scene.b / "cgroup.procs")


@act("a forked child is where its parent is")
def inherited(scene: Scene) -> object:
    write(scene.b / "cgroup.procs", b"0")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        os._exit(0)
    inside = len(read(scene.b / "cgroup.procs").split())
    os.write(writer, b"x")
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    until(lambda: len(read(scene.b / "cgroup.procs").split()) == 1, "the child has left")
    return inside


@act("what was opened before the permission went stays open")
def permission_at_open(scene: Scene) -> object:
    with Descriptor(scene.b / "cgroup.procs", os.O_WRONLY) as fd:
        (scene.b / "cgroup.procs").chmod(0o444)
        by_old = attempt(os.write, fd, b"0")
    return by_old, attempt(write, scene.b / "cgroup.procs", b"0")
