"""`cgfs set`: a filter for people who write no BPF."""

import errno
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from cgfs import expressions
from cgfs.commands.arguments import cgroup_argument, hook_argument, mode_options
from cgfs.control import ControlFile, Mode, SetText, parse, text_line
from cgfs.text_filter import languages, parse_text


@click.command("set", short_help="Set a filter without writing BPF.")
@cgroup_argument
@hook_argument
@click.argument("words", nargs=-1, required=True, metavar="EXPRESSION")
@mode_options
def command(cgroup: Path, hook: ControlFile, words: Sequence[str], mode: Mode) -> None:
    """Let through only what EXPRESSION says, in CGROUP, a directory of a mirror, and in those below it.

    For ingress and egress EXPRESSION is a packet filter, as tcpdump takes it: tcp dst port 443 or udp port 53.
    For socket-create it is a list of address families, inet,inet6; an empty one, '', allows no internet sockets.
    none removes the filter.
    """
    from cgfs import client

    expression = " ".join(words)
    with suppress(OSError):
        line = parse(expression.encode(errors="surrogateescape"))
        if isinstance(line, SetText) and line.mode is not Mode.DEFAULT:
            raise click.UsageError(f"write the mode as an option: --{line.mode.value}")
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # libpcap may take minutes, in which Python heeds none
    if expression == "none":
        client.detach(cgroup / hook.name)
        return
    text = text_of(hook, expression)
    parse_text(text, hook)  # says more than the errno that a write gives
    client.write(cgroup / hook.name, text_line(text, mode))
    if text.startswith("cbpf:") and expression != text:
        with suppress(OSError):  # words for `cgfs explain`, and no more
            expressions.remember(expression, text)


def text_of(hook: ControlFile, expression: str) -> str:
    """The text filter of *expression*. Raises OSError: EINVAL if it is none for *hook*."""
    known = languages(hook)
    if "families" in known:
        return f"families:{expression.removeprefix('families:')}"
    if "cbpf" not in known:
        raise OSError(errno.EINVAL, f"{hook.name} takes no text filter: attach a program (`cgfs attach`)")
    return expression if expression.startswith("cbpf:") else expressions.text_of(expression)
