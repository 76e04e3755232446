"""Changes of filters on behalf of others: one after the other for each file, permitted, logged, and told to watchers.

Owns the order in which changes of one file happen, and what the mount demands of those who make them. What a change
does to the kernel is cgfs/filters.py's, what the log says of it cgfs/audit.py's. A change may wait for locks of the
kernel; it is made in the thread that was asked for it, and holds up nothing but other changes of the same file.
"""

import contextlib
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue

from cgfs import attributes, filters, guard
from cgfs.abi import Attach
from cgfs.audit import log_changed, log_given, log_refused
from cgfs.bpf import Program
from cgfs.caller import Caller, Capability, Credentials
from cgfs.control import Command, NoneCommand, SetProgram, SetText, program_line, text_line
from cgfs.filters import Change
from cgfs.locks import LOCKS, LockAmongProcesses, LockByKey, computing
from cgfs.mirror import INDEX_BITS, Mirror, split_control_node
from cgfs.notes import Stamp
from cgfs.store import ProgramStore
from cgfs.store.entry import User
from cgfs.target import Target, opened
from cgfs.text_filter import parse_text

log = logging.getLogger(__name__)

_UNPRIVILEGED_BPF_DISABLED = "/proc/sys/kernel/unprivileged_bpf_disabled"
_SWEEP_S = 60.0
_TELL_S = 0.01
_END = 0  # no node has that id


def unprivileged_bpf() -> bool:
    """Whether the kernel lets unprivileged users load BPF programs. Where it does not say, it may."""
    try:
        setting = os.open(_UNPRIVILEGED_BPF_DISABLED, os.O_RDONLY | os.O_CLOEXEC)  # faster than open(): at each attach
    except FileNotFoundError:
        return True
    try:
        return os.read(setting, 16) == b"0\n"
    finally:
        os.close(setting)


class Changes:
    """Those of the control files of *mirror*. While *attach_cap* says so, whoever attaches needs CAP_NET_ADMIN, too."""

    def __init__(self, mirror: Mirror, *, attach_cap: Callable[[], bool], store: ProgramStore) -> None:
        self._mirror = mirror
        self._attach_cap = attach_cap
        self._store = store
        self._among_threads = LockByKey()  # by node
        self._among_daemons = LockAmongProcesses(LOCKS)  # by _number_of()
        self._untold: SimpleQueue[int] = SimpleQueue()  # nodes, and _END

    def attach(self, node: int, wanted: Attach, caller: Caller, opener: Credentials) -> None:
        """*caller* attaches a program that is open in it, through a file that *opener* opened for writing."""
        who = caller.credentials()

        def act(target: Target) -> Change:
            self._check_attach_cap(opener)
            with caller.open_program(wanted.prog_fd) as given:
                change = filters.set_program(target, given, wanted.mode, _stamp(who))
                self._keep(given, who)
            return change

        self._change(node, who, caller, f"attach {wanted.mode.name.lower()}", act)

    def command(self, node: int, command: Command, caller: Caller, opener: Credentials) -> None:
        """Carry out a command that *caller* has written to a file which *opener* opened."""
        if isinstance(command, NoneCommand):
            self._change(node, opener, caller, "none", partial(_clear, opener))
            return
        user = caller.user()  # before others wait: it may take long
        if isinstance(command, SetProgram):
            words = program_line(command.tag, command.mode)
            self._change(node, opener, caller, words, partial(self._set_stored, command, user, opener))
        else:
            words = text_line(command.text, command.mode)
            self._change(node, opener, caller, words, partial(self._set_text, command, user, opener))

    def attributes(self, node: int, caller: Caller, *, mode: int | None, uid: int | None, gid: int | None) -> None:
        """*caller* changes mode, owner and group of a file, as far as they are not None."""
        who = caller.credentials()
        with self._in_turn(node, who, caller, "chmod or chown") as target:
            before, after = attributes.change(target.cgroup_fd, target.file, who, mode=mode, uid=uid, gid=gid)
            log_given(target, who, before, after)

    def log_refused(self, node: int, who: Credentials, caller: Caller, what: str, error: OSError) -> None:
        """*who* wanted *what*, which is no change that there could be, and was told so by *error*."""
        with opened(self._mirror, node) as target:
            log_refused(target, who, caller, what, error)

    @contextlib.contextmanager
    def looked_after(self) -> Iterator[None]:
        """While the `with` block runs, those who poll or watch a file are told of its changes, and what belongs to
        filters that went with their cgroups is let go. (That goes on until the process ends; it uses nothing of the
        mirror's.)
        """
        teller = threading.Thread(target=self._tell_for_ever, name="tell")
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:  # they get none: one would be taken by them, and the main thread, which heeds it, would sleep on
            teller.start()
            threading.Thread(target=_sweep_for_ever, name="sweep", daemon=True).start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        try:
            yield
        finally:
            self._untold.put(_END)
            teller.join()  # it uses the mirror

    def _tell_for_ever(self) -> None:
        """The first change at once, then all of a moment together: telling costs more than a change does."""
        nodes: set[int] = set()
        while _END not in nodes:
            nodes = {self._untold.get()}
            while not self._untold.empty():
                nodes.add(self._untold.get())
            for node in nodes - {_END}:
                self._tell(node)
            time.sleep(_TELL_S)

    def _tell(self, node: int) -> None:
        try:
            self._mirror.control_changed(node)
        except Exception:
            log.exception("those who watch control file %#x are not told of a change", node)

    def _set_stored(self, command: SetProgram, user: int, opener: Credentials, target: Target) -> Change:
        self._check_attach_cap(opener)
        with computing(user):
            reader = User(opener.uid, opener.groups, Capability.DAC_OVERRIDE in opener.capabilities)
            program = self._store.find(target.file, command.tag, reader)
        with program:
            return filters.set_program(target, program, command.mode, _stamp(opener))

    def _set_text(self, command: SetText, user: int, opener: Credentials, target: Target) -> Change:
        self._check_attach_cap(opener)
        with computing(user):
            text = parse_text(command.text, target.file)
        return filters.set_text(target, text, command.mode, _stamp(opener), user)

    def _keep(self, program: Program, who: Credentials) -> None:
        """Keep what came through the ioctl, so that it can be attached again by its tag. It is attached in any case."""
        try:
            self._store.pins.keep(program, who.uid, who.gid)
        except OSError as error:
            log.info("a program of uid %s is not kept in the program store: %s", who.uid, error)
        except Exception:
            log.exception("a program of uid %s is not kept in the program store", who.uid)

    def _check_attach_cap(self, opener: Credentials) -> None:
        if self._attach_cap() and Capability.NET_ADMIN not in opener.capabilities:
            raise OSError(errno.EPERM, "this mount demands CAP_NET_ADMIN of whoever opens the file to attach a filter")

    def _change(self, node: int, who: Credentials, caller: Caller, what: str, act: Callable[[Target], Change]) -> None:
        with self._in_turn(node, who, caller, what) as target:
            change = act(target)
            if change.changed:
                log_changed(target, who, change)
        if change.changed:
            self._untold.put(node)

    @contextlib.contextmanager
    def _in_turn(self, node: int, who: Credentials, caller: Caller, what: str) -> Iterator[Target]:
        """Nobody else changes the file in the `with` block; that *who* is refused *what* there is logged."""
        with opened(self._mirror, node) as target:
            try:
                with self._among_threads.holding(node), self._among_daemons.holding(_number_of(target, node)):
                    yield target
            except OSError as error:
                log_refused(target, who, caller, what, error)  # others wait no more: it may take long
                raise


def _sweep_for_ever() -> None:
    """Now and then let go what belongs to filters that went with their cgroups."""
    while True:
        try:
            guard.sweep()
        except OSError as error:
            log.info("pins of former filters stay: %s", error)
        except Exception:
            log.exception("pins of former filters stay")
        time.sleep(_SWEEP_S)


def _number_of(target: Target, node: int) -> int:
    """The control file's, which is the same for each mirror that shows the cgroup."""
    return target.cgroup_id << INDEX_BITS | split_control_node(node)[1]


def _clear(opener: Credentials, target: Target) -> Change:
    return filters.clear(target, _stamp(opener), only_own=Capability.NET_ADMIN not in opener.capabilities)


def _stamp(who: Credentials) -> Stamp:
    return Stamp(who.uid, who.pid, who.comm, time.time_ns())
