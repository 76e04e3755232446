"""Imports go downwards only, and each foreign library stays where it belongs.

A module that is new has to be put into its layer here; ARCHITECTURE.md shows the same table.
"""

import ast
import functools
from pathlib import Path

import pytest

import cgfs

PACKAGE = Path(cgfs.__file__).parent

LAYERS = (
    {"__main__"},
    {"cli"},
    {"commands"},
    {
        "background",
        "checkpoint",
        "client",
        "criu",
        "daemon",
        "effective",
        "expressions",
        "hierarchy",
        "progress",
        "supervisor",
        "terminal",
    },
    {"operations"},
    {"changes"},
    {"audit"},
    {"filters"},
    {"attached"},
    {"abi", "attributes", "guard", "notes", "store", "target", "text_filter"},
    {"control"},
    {"bpf", "bpffs", "caller", "cgroup", "edge", "mirror", "mount_options", "mountinfo", "unmount"},
    {"cbpf", "cbpf_translate", "descriptor", "durable", "ebpf", "errors", "families", "locks", "pcap"},
    {"_native"},
)
"""From the top down: the modules and packages of cgfs."""

ONLY_IN = {
    "_cffi_backend": {"_native"},
    "click": {"cli", "commands"},
    "rich": {"commands", "progress", "terminal"},
}
"""Which modules may import a foreign library."""

SOURCES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """The module or package of cgfs that `cgfs.x.y` belongs to: x."""
    return module.split(".")[1]


def name_of(source: Path) -> str:
    relative = source.relative_to(PACKAGE).with_suffix("")
    return ".".join(("cgfs", *relative.parts)).removesuffix(".__init__")


def imports_of(source: Path) -> set[str]:
    """Full names of the modules that *source* imports, anywhere in it; of `from cgfs import x` it is cgfs.x."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: a relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "cgfs" else {node.module}
    return found


@functools.cache
def layer_of(part: str) -> int:
    for number, layer in enumerate(LAYERS):
        if part in layer:
            return number
    raise AssertionError(f"cgfs.{part} is in no layer: put it into LAYERS, and into ARCHITECTURE.md")


def graph() -> dict[str, set[str]]:
    """Which parts import which others."""
    found: dict[str, set[str]] = {}
    for source in SOURCES:
        module = name_of(source)
        if module == "cgfs":
            continue
        ours = {part_of(name) for name in imports_of(source) if name.startswith("cgfs.")}
        found.setdefault(part_of(module), set()).update(ours - {part_of(module)})
    return found


def test_imports_go_downwards() -> None:
    upwards = [
        f"{part} imports {other}"
        for part, others in graph().items()
        for other in others
        if layer_of(part) > layer_of(other)
    ]
    assert upwards == []


def test_no_imports_in_a_circle() -> None:
    remaining = graph()
    while leaves := [part for part, others in remaining.items() if not others & remaining.keys()]:
        for leaf in leaves:
            del remaining[leaf]
    assert remaining == {}


def test_every_layer_is_made_of_modules_that_exist() -> None:
    assert set().union(*LAYERS) - graph().keys() == {"_native"}


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_foreign_library_stays_where_it_belongs(library: str) -> None:
    importing = {
        part_of(name_of(source))
        for source in SOURCES
        if name_of(source) != "cgfs" and library in {name.partition(".")[0] for name in imports_of(source)}
    }
    assert importing <= ONLY_IN[library]


def test_c_calls_the_edge_only() -> None:
    assert {name_of(source) for source in SOURCES if "def_extern" in source.read_text()} == {"cgfs.edge"}


def test_modules_and_functions_stay_readable() -> None:
    """Modules to 350 lines, functions to 45: what is longer is more than one subject."""
    for source in SOURCES:
        text = source.read_text()
        assert text.count("\n") <= 350, f"{source} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 45, f"{source}: {node.name} has {length} lines"
