"""`cgfs show`: the filters of a cgroup and what is in force there."""

import datetime
import itertools
import pwd
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cgfs import expressions, hierarchy, terminal
from cgfs.attached import Attachment, How
from cgfs.bpf import AttachFlags, ProgramInfo
from cgfs.commands.arguments import cgroup_argument
from cgfs.control import SetText, parse
from cgfs.effective import InForce
from cgfs.errors import printable, shortened
from cgfs.text_filter import not_covered

_FLAGS = {AttachFlags.ALLOW_MULTI: "multi", AttachFlags.ALLOW_OVERRIDE: "override", AttachFlags(0): ""}
"""As `bpftool cgroup show` has them."""


@click.command("show", short_help="Show what is attached and what is in force.")
@cgroup_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(cgroup: Path, as_json: bool) -> None:
    """Show what is in the control files of CGROUP, a directory of a mirror, and what is in force there.

    In force are its own programs and those of the cgroups above, in the order in which they run. Only root is
    told of them; others see what is in the files.
    """
    filters = hierarchy.filters_of(cgroup)
    if as_json:
        terminal.print_json({"cgroup": str(cgroup), "filters": [_as_json(each) for each in filters]})
        return
    console = terminal.console()
    console.print(Text(printable(str(cgroup)), style="bold"))
    for each in filters:
        _show(each, console)
    if any(each.in_force is None for each in filters):
        console.print(Text(hierarchy.TOLD_TO_ROOT))


def _show(filters: hierarchy.Filters, console: Console) -> None:
    for heading, line in itertools.zip_longest([filters.file.name], filters.lines, fillvalue=""):
        console.print(Text(f"{heading:26}{shortened(line)}"))
    commands = [parse(line.encode("ascii")) for line in filters.lines]
    texts = [each.text for each in commands if isinstance(each, SetText)]
    for expression in filter(None, map(expressions.known, texts)):
        console.print(Text(f"  written as: {printable(expression)}"))
    for limit in dict.fromkeys(limit for text in texts for limit in not_covered(text)):
        console.print(Text(f"  {limit}"))
    if not filters.in_force:
        return
    counted = any(each.counters is not None for each in filters.in_force)
    counts = ("passed", "dropped") if counted else ()
    table = terminal.table("in force", "filter", "id", "name", *counts, "loaded", "attached by")
    for each in filters.in_force:
        table.add_row(*_row(each, counted=counted))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _row(each: InForce, *, counted: bool) -> list[str | Text]:
    program = each.program
    counts = [str(count) for count in each.counters] if each.counters is not None else 2 * [""]
    return [
        Text("here" if each.own else printable(each.cgroup or "above")),
        Text(_filter(each)),
        str(program.id),
        Text(printable(program.name)),
        *(counts if counted else []),
        f"{loaded_at(program).astimezone():%Y-%m-%d %H:%M:%S}",
        Text(_attached_by(each.attachment)),
    ]


def _filter(each: InForce) -> str:
    """What the control file says, the program's tag where it does not say that, and what it cannot say."""
    tag = each.program.tag
    line = f"bpf:{tag}" if each.line is None else each.line
    words = line if line.endswith(tag) else f"{shortened(line, 24)} {tag}"
    return f"{words} (exclusive)" if each.is_exclusive else words


def loaded_at(program: ProgramInfo) -> datetime.datetime:
    """When *program* was loaded, to the second: the kernel counts it from the boot."""
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - program.loaded_at_ns / 1e9
    return datetime.datetime.fromtimestamp(round(time.time() - age_s), datetime.UTC)


def _attached_by(attachment: Attachment | None) -> str:
    """Who attached it through the control file. Of what others attach the kernel does not say whose it is."""
    if attachment is None:
        return ""
    if attachment.noted is None:
        return "others, by a bpf_link" if attachment.how is How.LINK else "others"
    uid = attachment.noted.stamp.uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _as_json(filters: hierarchy.Filters) -> dict[str, Any]:
    return {
        "file": filters.file.name,
        "content": list(filters.lines),
        "in_force": None if filters.in_force is None else [_program_as_json(each) for each in filters.in_force],
    }


def _program_as_json(each: InForce) -> dict[str, Any]:
    program = each.program
    return {
        "cgroup": each.cgroup,
        "own": each.own,
        "filter": each.line,
        "attach_flags": None if each.flags is None else _FLAGS.get(each.flags, f"{each.flags:#x}"),
        "id": program.id,
        "guard_id": each.guard_id,
        "name": program.name,
        "tag": program.tag,
        "loaded_at": loaded_at(program).isoformat(),
        "uid": program.uid,
        "attached": None if each.attachment is None else each.attachment.how.name.lower(),
        "attached_by": None if each.attachment is None else _stamp_as_json(each.attachment),
        "counters": None if each.counters is None else each.counters._asdict(),
    }


def _stamp_as_json(attachment: Attachment) -> dict[str, Any] | None:
    """Who attached it through the control file, and when."""
    if attachment.noted is None:
        return None
    stamp = attachment.noted.stamp
    at = datetime.datetime.fromtimestamp(stamp.at_ns / 1e9, datetime.UTC)
    return {"uid": stamp.uid, "pid": stamp.pid, "command": stamp.comm, "at": at.isoformat()}
