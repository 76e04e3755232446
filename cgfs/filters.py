"""Set, replace and clear a cgroup's filters: what a command to a control file does to the kernel.

Owns the meaning of the modes and the order of the steps. All functions wait for locks of the kernel; two for the same
file at the same time are for the caller to prevent. Each returns what the file said before and after.

Order of the steps: the note comes first, and names the old program and the new one; then the new one is attached, in
place of the old one where there is one; then the note drops the old one. What is noted counts only while it is
attached, so a crash between the steps leaves the old filter or the new one in force, and a note that is true of it.

Default and nonrecursive filters are BPF_F_ALLOW_MULTI: without it an unprivileged user who can open the directory could
detach them, and a descendant that had a program before would not be restricted. Sources: bpf(2), kernel/bpf/cgroup.c.
"""

import contextlib
import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from cgfs import bpf, guard, notes, text_filter
from cgfs.attached import Attachment, How, State, observe
from cgfs.bpf import AttachFlags, Program, ProgramInfo
from cgfs.control import Mode
from cgfs.locks import computing
from cgfs.notes import Kind, Note, NotedProgram, Stamp
from cgfs.target import Target
from cgfs.text_filter import TextFilter

log = logging.getLogger(__name__)

_TRIES = 100
_KERNEL_MODES = AttachFlags.ALLOW_OVERRIDE | AttachFlags.ALLOW_MULTI


class _ChangedError(Exception):
    """Somebody else has changed what is attached, so that nothing was done."""


@dataclass(frozen=True, slots=True)
class Change:
    """The content of the file before and after, empty where that cannot be said any more. *changed* is false if nothing
    was done.
    """

    before: bytes
    after: bytes
    changed: bool


def set_program(target: Target, program: Program, mode: Mode, stamp: Stamp) -> Change:
    """Attach *program* (borrowed) in place of what came through the file before; what others attached stays.

    Raises OSError: EINVAL if *program* is of another type or for another hook, EBUSY if a program here or above is
    attached in another mode, EEXIST if somebody else has attached *program* here, EOPNOTSUPP if it cannot be
    nonrecursive, E2BIG if there are 64 programs, ENODEV if the cgroup is gone.
    """
    file, info = target.file, program.info()
    if info.type != file.prog_type:
        raise OSError(errno.EINVAL, f"{file.name} takes programs of type {file.prog_type.name}, not {info.type.name}")
    if mode is Mode.NONRECURSIVE:
        with guard.guarding(program, file, target.cgroup_id) as guarding:
            done = _put(target, guarding, guarding.info(), Kind.GUARD, mode, stamp, given_id=info.id)
    else:
        done = _put(target, program, info, Kind.PROGRAM, mode, stamp, given_id=info.id)
    return _finish(target, done)


def set_text(target: Target, text: TextFilter, mode: Mode, stamp: Stamp, user: int) -> Change:
    """Load and attach the program of *text* as `set_program` does; what has to be computed for that, for *user*.

    Raises OSError as that, and EINVAL if the kernel's verifier refuses it.
    """
    only_cgroup_id = target.cgroup_id if mode is Mode.NONRECURSIVE else None
    try:
        with computing(user):
            program = text_filter.load(text, target.file, only_cgroup_id=only_cgroup_id)
    except bpf.VerifierError as error:
        raise OSError(errno.EINVAL, error.strerror) from error
    with program:
        done = _put(target, program, program.info(), Kind.TEXT, mode, stamp)
    return _finish(target, done)


def clear(target: Target, stamp: Stamp, *, only_own: bool) -> Change:
    """Detach everything, links included; *only_own*: what came through the file.

    Raises OSError: EPERM if *only_own* and others have attached something, and then nothing has changed; ENODEV if the
    cgroup is gone.
    """
    before = state = observe(target, with_links=only_own)
    if only_own:
        _refuse_others(state)
    for _ in range(_TRIES):
        doomed = [each for each in state.attachments if each.how is How.FILE or not only_own]
        if not doomed:
            break
        for attachment in doomed:
            _detach(target, attachment, state)
        state = observe(target, with_links=only_own)
        if state.attachments and not only_own:
            _detach_links(target)
            state = observe(target)
    else:
        raise OSError(errno.EBUSY, f"{target.file.name}: others attach programs faster than they can be detached")
    changed = bool(before.attachments)
    if changed:
        with contextlib.suppress(OSError):  # the old one is as true: what is not attached does not count
            notes.write(target.cgroup_fd, target.file, Note(last=stamp))
    return Change(before.content, state.content, changed)


@dataclass(frozen=True, slots=True)
class _Put:
    """A program was attached, or was so before (not *changed*). *own* came through the file before."""

    before: State
    own: list[Attachment]
    changed: bool


def _put(
    target: Target,
    program: Program,
    info: ProgramInfo,
    kind: Kind,
    mode: Mode,
    stamp: Stamp,
    *,
    given_id: int | None = None,
) -> _Put:
    """Attach *program*, which is *info*. *given_id* is the id of the program that the caller gave: itself, or what it
    guards.

    Where it raises, nothing was attached.
    """
    new = NotedProgram(info.id, info.loaded_at_ns, kind, stamp)
    flags = AttachFlags.ALLOW_OVERRIDE if mode is Mode.OVERRIDABLE else AttachFlags.ALLOW_MULTI
    for _ in range(_TRIES):
        state = observe(target, with_links=True)
        own = [each for each in state.attachments if each.how is How.FILE]
        _refuse_what_is_in_the_way(target, state, flags, given_id)
        if any(each.info.id == info.id for each in own):
            notes.write(target.cgroup_fd, target.file, Note((new,), stamp))
            return _Put(state, [], changed=False)
        with contextlib.suppress(_ChangedError):
            with _noted(target, state, new):
                _attach(target, program, flags, own, state)
            return _Put(state, own, changed=True)
    raise OSError(errno.EBUSY, f"{target.file.name}: others change what is attached faster than it can be replaced")


def _finish(target: Target, done: _Put) -> Change:
    """Let go what was replaced. There is one such program; more of them if somebody else attached noted ones again.

    It is done, and no error any more: the cgroup may have been removed since.
    """
    after = b"" if done.changed else done.before.content
    try:
        for each in done.own[:1]:
            _forget(target, each)
        for each in done.own[1:]:
            _detach(target, each, observe(target))
        if done.changed:
            after = observe(target).content
    except OSError as error:
        log.info("%s was changed, and what came of it cannot be said: %s", target.file.name, error)
    return Change(done.before.content, after, done.changed)


def _refuse_what_is_in_the_way(target: Target, state: State, flags: AttachFlags, given_id: int | None) -> None:
    name = target.file.name
    if state.attachments and state.flags & _KERNEL_MODES != flags:
        raise OSError(errno.EBUSY, f"{name}: a program is attached in another mode: write `none` first")
    others = [each for each in state.attachments if each.how is not How.FILE]
    if any(each.how is How.DIRECT and each.info.id == given_id for each in others):
        raise OSError(errno.EEXIST, f"{name}: somebody else has attached this program here")
    if others and flags == AttachFlags.ALLOW_OVERRIDE:
        raise OSError(errno.EBUSY, f"{name}: an overridable filter would take the place of somebody else's program")


def _refuse_others(state: State) -> None:
    others = [each for each in state.attachments if each.how is not How.FILE]
    if others:
        words = ", ".join(f"{each.line} (attached {each.how.value})" for each in others[:3])
        raise OSError(errno.EPERM, f"only an opener with CAP_NET_ADMIN may remove what others attached: {words}")


@contextlib.contextmanager
def _noted(target: Target, state: State, new: NotedProgram) -> Iterator[None]:
    """The note names the programs of *state* and *new* during the block, and *new* alone afterwards; if the block
    raises, what it named before.
    """
    old = tuple(each.noted for each in state.attachments if each.noted is not None)
    notes.write(target.cgroup_fd, target.file, Note((*old, new), new.stamp))
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # it is true anyway: what is not attached does not count
            notes.write(target.cgroup_fd, target.file, state.note)
        raise
    if old:
        with contextlib.suppress(OSError):
            notes.write(target.cgroup_fd, target.file, Note((new,), new.stamp))


def _attach(target: Target, program: Program, flags: AttachFlags, own: list[Attachment], state: State) -> None:
    """Attach *program*, in one step in place of the first of *own*.

    An overridable one takes the place of whatever is there: the revision makes sure that this is still *state*.
    """
    with contextlib.ExitStack() as stack:
        replace_fd = None
        try:
            if own and flags == AttachFlags.ALLOW_MULTI:
                replace_fd = stack.enter_context(Program.by_id(own[0].info.id)).fd
            bpf.attach(
                target.cgroup_fd,
                program.fd,
                target.file.attach_type,
                flags,
                replace_fd=replace_fd,
                revision=_revision_that_matters(state, flags),
            )
        except PermissionError:
            words = "a filter above or here is attached in another mode, which allows no other"
            raise OSError(errno.EBUSY, f"{target.file.name}: {words}") from None
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            raise _ChangedError from error


def _revision_that_matters(state: State, flags: AttachFlags) -> int:
    """With ALLOW_MULTI the kernel asks which program is meant; without, it is the only one."""
    return 0 if flags & AttachFlags.ALLOW_MULTI else state.revision


def _detach(target: Target, attachment: Attachment, state: State) -> None:
    """Detach it, unless somebody else has changed what is attached since *state*, or it is attached by a link only."""
    try:
        with Program.by_id(attachment.info.id) as program:
            revision = _revision_that_matters(state, state.flags)
            bpf.detach(target.cgroup_fd, target.file.attach_type, program.fd, revision=revision)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
    else:
        _forget(target, attachment)


def _forget(target: Target, attachment: Attachment) -> None:
    """It is not attached any more: let go what belongs to it."""
    if attachment.noted is not None and attachment.noted.kind is Kind.GUARD:
        with contextlib.suppress(OSError):  # guard.sweep() does it later
            guard.unpin(target.cgroup_id, target.file, attachment.info.id)


def _detach_links(target: Target) -> None:
    for link in bpf.links(target.cgroup_id, target.file.attach_type):
        with contextlib.suppress(FileNotFoundError):
            bpf.detach_link(link.id)
