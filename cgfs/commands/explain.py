"""`cgfs explain`: what the filters of a cgroup do, in words."""

from collections.abc import Iterator
from pathlib import Path

import click

from cgfs import hierarchy, terminal
from cgfs.commands.arguments import cgroup_argument, hook_argument
from cgfs.control import ControlFile, Mode, NoneCommand, SetText, parse
from cgfs.text_filter import describe

HOW_FAR = {
    Mode.DEFAULT: "holds for this cgroup and all below it; nobody below can undo it",
    Mode.OVERRIDABLE: "holds for this cgroup and those below it that set no filter of their own in its place",
    Mode.NONRECURSIVE: "holds for this cgroup only, not for those below it",
}


@click.command("explain")
@cgroup_argument
@hook_argument
def command(cgroup: Path, hook: ControlFile) -> None:
    """Say in words what HOOK of CGROUP, a directory of a mirror, lets through, and what is in force from above."""
    filters = next(each for each in hierarchy.filters_of(cgroup) if each.file == hook)
    print(f"{terminal.printable(str(cgroup))}, {hook.name}:")
    for line in filters.lines:
        for sentence in explain_line(line):
            print(f"  {sentence}")
    above = [each for each in filters.in_force or () if not each.own]
    if filters.in_force is None:
        print("what is in force from above is told to root only")
    elif not above:
        print("nothing is in force from above")
    for each in above:
        print(f"in force from {terminal.printable(each.cgroup or 'a cgroup above')}:")
        for sentence in explain_line(each.line or f"bpf:{each.program.tag}"):
            print(f"  {sentence}")


def explain_line(line: str) -> Iterator[str]:
    """What one line of a control file means."""
    command = parse(line.encode("ascii", "replace"))
    if isinstance(command, NoneCommand):
        yield "no filter is attached here"
        return
    yield f"{terminal.shortened(line)}: {HOW_FAR[command.mode]}"
    if isinstance(command, SetText):
        yield from describe(command.text)
        return
    yield f"a BPF program; `bpftool prog dump xlated tag {command.tag}` lists its instructions"
