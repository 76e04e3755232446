"""`cgfs tree`: the cgroups that have filters."""

from pathlib import Path

import click
from rich.text import Text
from rich.tree import Tree

from cgfs import hierarchy, terminal
from cgfs.commands.arguments import optional_cgroup_argument
from cgfs.errors import printable, shortened


@click.command("tree", short_help="Show which cgroups have filters.")
@optional_cgroup_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(cgroup: Path | None, as_json: bool) -> None:
    """Show which cgroups have filters, at or below CGROUP, a directory of a mirror (default: the only mirror)."""
    top = hierarchy.only_mirror() if cgroup is None else cgroup
    found = hierarchy.filtered_cgroups(top)
    if as_json:
        terminal.print_json([{"cgroup": str(each.path), "filters": each.filters} for each in found])
        return
    tree = Tree(_label(str(top), {}))
    branches = {top: tree}
    for each in found:
        if each.path == top:
            tree.label = _label(str(top), each.filters)
        else:
            branches[each.path] = _branch(branches, each.path.parent).add(_label(each.path.name, each.filters))
    terminal.console().print(tree)


def _branch(branches: dict[Path, Tree], path: Path) -> Tree:
    """The branch of a cgroup, made with those above it where they have no filters of their own."""
    missing = []
    while path not in branches:
        missing.append(path)
        path = path.parent
    branch = branches[path]
    for path in reversed(missing):
        branch = branches[path] = branch.add(_label(path.name, {}))
    return branch


def _label(name: str, filters: dict[str, tuple[str, ...]]) -> Text:
    label = Text(printable(name), style="bold")
    for file, lines in filters.items():
        label.append(f"\n{file:26}", style="not bold")
        label.append(("\n" + 26 * " ").join(map(shortened, lines)), style="not bold")
    return label
