"""Functions in another process: in a cgroup, as somebody else, in namespaces of its own.

pytest itself never enters a test's cgroup and never gives up its ids. A child is forked, so that it needs no
access to the interpreter's files whoever it is; it never outlives the test (SIGKILL at the end, and when
pytest dies).

    with Child(cgroup=path, identity=ALICE) as child:
        child.call(os.mkdir, mirror / "sub")          # raises here what it raises there
    run(lambda: os.listdir(path), identity=ALICE)      # one function, any callable, one process

What goes to and fro is pickled: a function given to call() is found by its name, one given to run() may be
any.
"""

import contextlib
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from tests.support.syscalls import PR_SET_PDEATHSIG, prctl, unshare
from tests.support.users import HOST, ROOT, Identity, Namespaces, map_ids
from tests.support.waiting import Overdue

P = ParamSpec("P")
T = TypeVar("T")

CALL_DEADLINE_S = 90.0


def join_cgroup(cgroup: Path) -> None:
    """Move the calling process into *cgroup* (a path on cgroup2 or on the mirror)."""
    (cgroup / "cgroup.procs").write_text("0")


class Child:
    """A process that calls functions for the test, one after the other, until the end of the `with` block.

    *cgroup* is where it is put first, as root; then it gets its *namespaces*, then it becomes *identity* (ids
    of the user namespace, where it has one). `pid` is its number for the test process.
    """

    def __init__(self, cgroup: Path | None = None, identity: Identity = ROOT, namespaces: Namespaces = HOST) -> None:
        self._connection, theirs = Pipe()
        self._outer = _fork()
        if self._outer == 0:
            _run_child(theirs, self._connection, cgroup, identity, namespaces)
        theirs.close()
        self._reaped = False
        try:
            if namespaces.user:
                self._receive()  # it has left our user namespace
                map_ids(self._outer)
                self._connection.send(("go on",))
            self.pid: int = self._receive()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What *function* returns there; what it raises there is raised here."""
        self.begin(function, *args, **kwargs)
        result: T = self.result()
        return result

    def begin(self, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Start *function* there and come back at once; result() waits for it."""
        self._connection.send((function, args, kwargs))

    def result(self, *, deadline_s: float = CALL_DEADLINE_S) -> Any:
        """The outcome of the function started by begin()."""
        return self._receive(deadline_s)

    def finished(self, within_s: float = 0.0) -> bool:
        """Whether the function started by begin() has ended."""
        return self._connection.poll(within_s)

    def _receive(self, deadline_s: float = CALL_DEADLINE_S) -> Any:
        if not self._connection.poll(deadline_s):
            self.kill()
            raise Overdue(f"the child did not answer within {deadline_s:.0f} s")
        try:
            error, value = self._connection.recv()
        except EOFError:
            self.kill()
            raise AssertionError("the child has died") from None
        if error is not None:
            raise error
        return value

    def kill(self) -> None:
        """End it and reap it; it may be dead already."""
        if self._reaped:
            return
        self._reaped = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(getattr(self, "pid", self._outer), signal.SIGKILL)
        os.waitpid(self._outer, 0)  # where there is a PID namespace, this one reaps its first process, and ends
        self._connection.close()


def run(
    function: Callable[[], T],
    *,
    cgroup: Path | None = None,
    identity: Identity = ROOT,
    namespaces: Namespaces = HOST,
) -> T:
    """What *function* (any callable, closures too) returns in a process made for it; what it raises is raised
    here.
    """
    global _inherited
    _inherited = function
    try:
        child = Child(cgroup, identity, namespaces)
    finally:
        _inherited = None
    with child:
        result: T = child.call(_call_inherited)
        return result


_inherited: Callable[[], Any] | None = None


def _fork() -> int:
    """fork(2), also where pytest has other threads: none of them holds a lock that a child of the tests needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _call_inherited() -> Any:
    assert _inherited is not None
    return _inherited()


def _run_child(
    connection: Connection,
    theirs: Connection,
    cgroup: Path | None,
    identity: Identity,
    namespaces: Namespaces,
) -> None:
    """The child's whole life: never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        theirs.close()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _settle(connection, cgroup, identity, namespaces)
        _serve(connection)
    except (EOFError, BrokenPipeError):
        pass
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send((_portable(error), None))
    finally:
        os._exit(0)


def _settle(connection: Connection, cgroup: Path | None, identity: Identity, namespaces: Namespaces) -> None:
    if cgroup is not None:
        join_cgroup(cgroup)
    flags = namespaces.flags()
    if flags:
        unshare(flags)
    if namespaces.user:
        connection.send((None, "left"))
        connection.recv()
    if namespaces.pid:
        inner = os.fork()
        if inner:
            connection.send((None, inner))
            connection.close()
            os.waitpid(inner, 0)
            os._exit(0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    identity.assume()
    if not namespaces.pid:
        connection.send((None, os.getpid()))


def _serve(connection: Connection) -> None:
    while True:
        function, args, kwargs = connection.recv()
        answer: tuple[BaseException | None, Any]
        try:
            answer = (None, function(*args, **kwargs))
        except BaseException as error:
            answer = (_portable(error), None)
        connection.send(answer)


def _portable(error: BaseException) -> BaseException:
    """The error with the child's traceback as a note, for pickling."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, OSError):
        portable: BaseException = OSError(error.errno, error.strerror, error.filename)
    elif isinstance(error, AssertionError):
        portable = AssertionError(str(error))
    else:
        portable = RuntimeError(f"in a child: {error!r}")
    portable.add_note(f"in the child:\n{text}")
    return portable
