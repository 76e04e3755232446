"""`cgfs explain`: what the filters of a cgroup do, in words."""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from cgfs import expressions, hierarchy
from cgfs.commands.arguments import cgroup_argument, optional_hook_argument
from cgfs.control import ControlFile, Mode, NoneCommand, SetText, parse
from cgfs.effective import InForce
from cgfs.errors import printable, shortened
from cgfs.text_filter import describe

HOW_FAR = {
    Mode.DEFAULT: "holds for this cgroup and all below it; nobody below can undo it",
    Mode.OVERRIDABLE: "holds for this cgroup and those below it that set no filter of their own in its place",
    Mode.NONRECURSIVE: "holds for this cgroup only, not for those below it",
}

EXCLUSIVE = (
    "somebody else attached it with flags 0: it does not bind those below that had a program before, and whoever may "
    "open the cgroup's directory can detach it"
)


@click.command("explain", short_help="Say in words what a filter does.")
@cgroup_argument
@optional_hook_argument
def command(cgroup: Path, hook: ControlFile | None) -> None:
    """Say in words what HOOK of CGROUP, a directory of a mirror, lets through, and what is in force from above.

    Without HOOK, each is explained.
    """
    for filters in hierarchy.filters_of(cgroup):
        if hook in (None, filters.file):
            _explain(cgroup, filters)


def _explain(cgroup: Path, filters: hierarchy.Filters) -> None:
    print(f"{printable(str(cgroup))}, {filters.file.name}:")
    own = [each for each in filters.in_force or () if each.own]
    by_line = own if [each.line for each in own] == list(filters.lines) else []  # else it has changed meanwhile
    for line, in_force in itertools.zip_longest(filters.lines, by_line):
        _print_explained(line, in_force)
    above = [each for each in filters.in_force or () if not each.own]
    if filters.in_force is None:
        print(hierarchy.TOLD_TO_ROOT)
    elif not above:
        print("nothing is in force from above")
    for each in above:
        print(f"in force from {printable(each.cgroup or 'a cgroup above')}:")
        _print_explained(each.line or f"bpf:{each.program.tag}", each)


def _print_explained(line: str, in_force: InForce | None) -> None:
    for sentence in explain_line(line, in_force):
        print(f"  {sentence}")


def explain_line(line: str, in_force: InForce | None) -> Iterator[str]:
    """What one line of a control file means; *in_force* is None where only root is told of it."""
    command = parse(line.encode("ascii", "replace"))
    if isinstance(command, NoneCommand):
        yield "no filter is attached here"
        return
    how_far = EXCLUSIVE if in_force is not None and in_force.is_exclusive else HOW_FAR[command.mode]
    yield f"{shortened(line)}: {how_far}"
    if isinstance(command, SetText):
        expression = expressions.known(command.text)
        if expression is not None:
            yield f"written as: {printable(expression)}"
        yield from describe(command.text)
    elif in_force is None:
        yield "a BPF program; root is told its instructions"
    else:
        yield from _instructions(in_force.program.id)


def _instructions(prog_id: int) -> Iterator[str]:
    """What bpftool, which knows how to write instructions down, says of the program. Source: bpftool-prog(8)."""
    dump = ["bpftool", "prog", "dump", "xlated", "id", str(prog_id)]
    try:
        done = subprocess.run(dump, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        yield f"a BPF program, id {prog_id}; with bpftool installed, its instructions stand here"
    except subprocess.CalledProcessError as error:
        yield f"a BPF program, id {prog_id}; bpftool says: {printable(error.stderr.strip())}"
    else:
        yield f"a BPF program, id {prog_id}:"
        yield from (printable(line.strip()) for line in done.stdout.splitlines() if line.strip())
