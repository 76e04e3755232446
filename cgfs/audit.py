"""The log of changes: a line for each one of a filter, or of its file's owner and mode, and for each that was refused.

Names in it are other people's: they are written as JSON strings, so that they are one word and no control sequence.
Each change and each refusal for lack of permission is there, as the contract wants. Other refusals cost whoever makes
them nothing, and the log is on somebody's disk: of these a user has so many in a second.
"""

import errno
import json
import logging
import os
import threading
import time
from collections import Counter

from cgfs.attributes import Attributes
from cgfs.caller import Caller, Credentials
from cgfs.filters import Change
from cgfs.target import Target

log = logging.getLogger(__name__)

MOST_REFUSALS = 20
"""Of one user in one second, for other reasons than permission."""
_LACK_OF_PERMISSION = (errno.EPERM, errno.EACCES)
_LONGEST = 200


def log_changed(target: Target, who: Credentials, change: Change) -> None:
    before, after = (quoted(content.decode("ascii").rstrip("\n")) for content in (change.before, change.after))
    log.info("filter changed: %s before=%s after=%s", _where(target, who), before, after)


def log_given(target: Target, who: Credentials, before: Attributes, after: Attributes) -> None:
    """Owner, group or mode of the file, and so the right to change its filter."""
    if str(before) != str(after):
        words = f"before={quoted(str(before))} after={quoted(str(after))}"
        log.info("filter file changed: %s %s", _where(target, who), words)


def log_refused(target: Target, who: Credentials, caller: Caller, what: str, error: OSError) -> None:
    """*who* wanted *what* of the file, and was told *error*. *caller* is who is in want of lines for that."""
    user = caller.user()
    number = 0 if error.errno in _LACK_OF_PERMISSION else _refusals.one_more(user)
    if number > MOST_REFUSALS:
        return
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    reason = quoted(error.strerror or str(error))
    log.info("filter refused: %s wanted=%s error=%s reason=%s", _where(target, who), quoted(what), name, reason)
    if number == MOST_REFUSALS:
        log.info("further refusals of whoever is behind uid=%s are left out in this second: user=%s", who.uid, user)


def quoted(text: str) -> str:
    """*text* as a JSON string in printable ASCII; what is long is cut."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text)} characters)"
    return json.dumps(text).replace("\x7f", "\\u007f")


class _Refusals:
    """How many each user had in this second; a container is one (native/mirror/user.c)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._of_user: Counter[int] = Counter()

    def one_more(self, user: int) -> int:
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second = second
                self._of_user.clear()
            self._of_user[user] += 1
            return self._of_user[user]


_refusals = _Refusals()


def _where(target: Target, who: Credentials) -> str:
    cgroup = quoted(_path_of(target.cgroup_fd))
    return f"uid={who.uid} pid={who.pid} command={quoted(who.comm)} cgroup={cgroup} file={target.file.name}"


def _path_of(cgroup_fd: int) -> str:
    """As far as the kernel says it: not a path that is longer than it takes from anybody."""
    try:
        return os.readlink(f"/proc/self/fd/{cgroup_fd}")  # noqa: PTH115 - a tenth of an attach faster
    except OSError as error:
        return f"(cgroup {os.fstat(cgroup_fd).st_ino}: {error.strerror})"
