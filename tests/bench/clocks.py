"""The CPU time of another process, to the nanosecond: proc(5) has it in ticks of 10 ms.

Source: clock_getcpuclockid(3). Threads that have ended count too.
"""

import ctypes
import os
import time
from collections.abc import Sequence

_libc = ctypes.CDLL(None)

_QUIET_WITHIN_S = 5.0
_QUIET_SHARE = 0.05


def process_cpu_ns(pid: int) -> int:
    """User and system time that process *pid* has used. Raises OSError: ESRCH if there is no such process."""
    clock = ctypes.c_int()
    number = _libc.clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock))
    if number:
        raise OSError(number, f"CPU clock of process {pid}: {os.strerror(number)}")
    return time.clock_gettime_ns(clock.value)


def wait_until_quiet(pids: Sequence[int], quiet_s: float) -> None:
    """Wait until the processes *pids* do next to nothing for *quiet_s*: what one measurement left them to do (dentries
    to forget, events to look at) would be counted in the next. On a machine where they never rest, it goes on.
    """
    deadline = time.monotonic() + _QUIET_WITHIN_S
    used_ns = sum(map(process_cpu_ns, pids))
    while time.monotonic() < deadline:
        time.sleep(quiet_s)
        before_ns, used_ns = used_ns, sum(map(process_cpu_ns, pids))
        if used_ns - before_ns < quiet_s * 1e9 * _QUIET_SHARE:
            return
