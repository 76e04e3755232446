"""The expressions that packet filters were written in, for people: a control file holds their classic program only.

`cgfs set` remembers what it compiled, in a file named by the program's hash. What is remembered proves nothing, and may
be of another version of libpcap: an expression is shown only where libpcap makes this very program of it, now.

Owns the directory of these files: /var/lib/cgfs/expressions for root, and for others one in their own state directory
(XDG Base Directory Specification). Losing it loses nothing but words.
"""

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from cgfs import cbpf, pcap
from cgfs.durable import write_file

ROOTS = Path("/var/lib/cgfs/expressions")
_LONGEST = 64 << 10
_MOST = 1000


def text_of(expression: str) -> str:
    """The text filter that *expression*, in tcpdump's language, is. Raises OSError as pcap.compile_expression()."""
    return f"cbpf:{cbpf.format_program(pcap.compile_expression(expression))}"


def remember(expression: str, text: str) -> None:
    """Remember that the text filter *text* was written as *expression*. Raises OSError if it cannot be kept."""
    directory = _directory()
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_file(_path(directory, text), expression.encode(errors="surrogateescape"), mode=0o644)
    for old in sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-_MOST]:
        old.unlink()


def known(text: str) -> str | None:
    """The expression that the text filter *text* was written as, if it is remembered, and true."""
    if not text.startswith("cbpf:"):
        return None
    directories = [ROOTS]
    with suppress(OSError):
        directories.insert(0, _directory())
    for directory in dict.fromkeys(directories):
        try:
            with _path(directory, text).open("rb") as file:
                expression = file.read(_LONGEST).decode()
            if text_of(expression) == text:
                return expression
        except (OSError, UnicodeDecodeError):
            continue
    return None


def _directory() -> Path:
    """Raises OSError: ENOENT if whoever runs this has none."""
    if os.geteuid() == 0:
        return ROOTS
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        state = Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111 - relative still, where there is no home
    if not state.is_absolute():
        raise OSError(errno.ENOENT, "there is no home directory to remember expressions in")
    return state / "cgfs" / "expressions"


def _path(directory: Path, text: str) -> Path:
    return directory / hashlib.sha256(text.encode()).hexdigest()
