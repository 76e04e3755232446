"""`cgfs mount`, and `mount.fuse.cgfs`, which mount(8) runs: start the daemon of a mirror.

Owns the command lines of the mount and where the daemon's log goes in the background. The mount itself is
cgfs/daemon.py's.
"""

import contextlib
import fcntl
import logging
import logging.handlers
import os
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cgfs import background, supervisor
from cgfs.commands.arguments import PATH
from cgfs.mount_options import MountOptions, parse

if TYPE_CHECKING:
    from cgfs.daemon import Settings

_SYSLOG = Path("/dev/log")
_LOG_FILE = Path("/var/log/cgfs.log")
_PATIENCE_S = 0.05
"""How long a line of the log may wait for a syslogd that does not read."""
_PATIENCE = struct.pack("@ll", 0, int(_PATIENCE_S * 1e6))  # struct timeval


def _parsed(text: str, *, sloppily: bool = False) -> MountOptions:
    try:
        return parse(text, sloppily=sloppily)
    except OSError as error:
        raise click.BadParameter(str(error.strerror), param_hint="'-o'") from error


_options = click.option("-o", "options", default="", metavar="OPTIONS", help="Mount options, with commas between them.")


@click.command("mount", short_help="Mount a mirror of cgroup2.")
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="[SOURCE] MOUNTPOINT")
@_options
@click.option("--foreground", is_flag=True, help="Stay, and log to stderr; Ctrl-C unmounts.")
@click.option(
    "--ready-fd",
    type=click.IntRange(3, 2**31 - 1),
    metavar="N",
    help="With --foreground: when the mount answers, write the line `ready` to descriptor N and close it.",
)
def command(paths: Sequence[Path], options: str, foreground: bool, ready_fd: int | None) -> None:
    """Show cgroup2 at MOUNTPOINT, with the filters' control files in every directory.

    SOURCE is a directory of a cgroup2 mount; without it, all of cgroup2 is shown.

    OPTIONS: noallow_other (only root may use the mirror), attach_cap (attaching needs CAP_NET_ADMIN too; on
    by itself where unprivileged users may load BPF, noattach_cap switches it off), ro, nopassthrough (the
    daemon, not the kernel, reads and writes cgroup2's files). A mirror is always nosuid, nodev and noexec.

    Without --foreground the command returns when the mount answers. The daemon logs to syslog then, or where
    there is none to /var/log/cgfs.log. With it, systemd is told when the mount answers (Type=notify).
    """
    if len(paths) > 2:
        raise click.UsageError("name one directory to mount at, and at most one of cgroup2 before it")
    if ready_fd is not None:
        _check_ready_fd(ready_fd, foreground=foreground)
    *source, mountpoint = paths
    _mount(mountpoint, source[0] if source else None, _parsed(options), foreground=foreground, ready_fd=ready_fd)


@click.command("mount.fuse.cgfs")
@click.argument("source")
@click.argument("mountpoint", type=PATH)
@_options
@click.option("-f", "fake", is_flag=True, help="Only say whether the options are right.")
@click.option("-s", "sloppily", is_flag=True, help="What is no option changes nothing.")
@click.option("-n", "-v", "nothing", is_flag=True, help="Nothing: mount(8) may say so.")
@click.option("-t", "fstype", help="Nothing: mount(8) may say so.")
def helper(
    source: str, mountpoint: Path, options: str, *, fake: bool, sloppily: bool, nothing: bool, fstype: str | None
) -> None:
    """Mount a mirror as mount(8) and fstab(5) want it: `mount -t fuse.cgfs cgroup2 /run/cgfs`.

    SOURCE is a directory of a cgroup2 mount, or a word, such as cgroup2 or none, for all of cgroup2. Linked into /sbin,
    this is what mount(8) runs for the type fuse.cgfs.
    """
    parsed = _parsed(options, sloppily=sloppily)
    if not fake:
        _mount(mountpoint, Path(source) if "/" in source else None, parsed)


def _check_ready_fd(ready_fd: int, *, foreground: bool) -> None:
    if not foreground:
        raise click.UsageError("--ready-fd goes with --foreground; without that the command returns when it is ready")
    try:
        access = fcntl.fcntl(ready_fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as error:
        raise click.UsageError(f"--ready-fd {ready_fd}: no such descriptor is open") from error
    if access == os.O_RDONLY:
        raise click.UsageError(f"--ready-fd {ready_fd}: it is open for reading, and is to be written to")


def _mount(
    mountpoint: Path,
    source: Path | None,
    options: MountOptions,
    *,
    foreground: bool = False,
    ready_fd: int | None = None,
) -> None:
    os.umask(0o077)
    background.close_inherited(*([] if ready_fd is None else [ready_fd]))
    from cgfs import daemon

    settings = daemon.settings_of(mountpoint, source, options)
    if foreground:
        _log_to(_with_format(logging.StreamHandler(), supervisor.log_formatter()))
        daemon.serve(settings, partial(supervisor.say_ready, ready_fd))
    else:
        background.start(partial(_serve_behind, settings))


def _serve_behind(settings: "Settings", ready: Callable[[], None]) -> None:
    from cgfs import daemon

    _log_to(_log_handler())
    with contextlib.suppress(OSError):
        _let_stderr_be_the_log()
    daemon.serve(settings, ready)


def _log_to(handler: logging.Handler) -> None:
    """Log to *handler*, from INFO on.

    What no line shows is not asked for: that takes longer than to write one (logging's HOWTO, "Optimization").
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _log_handler() -> logging.Handler:
    who = f"cgfs[{os.getpid()}]"
    if _SYSLOG.exists():
        socket.setdefaulttimeout(_PATIENCE_S)  # of the handler's socket: there are no others
        logging.raiseExceptions = False  # a line that nobody takes is lost
        to_syslog = logging.handlers.SysLogHandler(str(_SYSLOG), logging.handlers.SysLogHandler.LOG_DAEMON)
        return _with_format(to_syslog, logging.Formatter(f"{who}: %(levelname)s %(message)s"))
    to_file = logging.handlers.WatchedFileHandler(_LOG_FILE)
    return _with_format(to_file, logging.Formatter(f"%(asctime)s {who} %(levelname)s %(message)s"))


def _let_stderr_be_the_log() -> None:
    """What C has to say goes there in one piece, even before it aborts."""
    if _SYSLOG.exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sink:
            sink.setblocking(True)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
            sink.connect(str(_SYSLOG))
            os.dup2(sink.fileno(), 2)
    else:
        with _LOG_FILE.open("ab") as file:
            os.dup2(file.fileno(), 2)


def _with_format(handler: logging.Handler, formatter: logging.Formatter) -> logging.Handler:
    handler.setFormatter(formatter)
    return handler
