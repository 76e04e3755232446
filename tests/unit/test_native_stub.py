"""cgfs/_native.pyi says what the compiled module has: no more, no less, and with as many parameters."""

import ast
import re
from pathlib import Path

from cgfs import _native

STUB = Path(__file__).parents[2] / "cgfs" / "_native.pyi"
PARAMETERS = re.compile(r"^[^(]*\((?P<list>.*)\);", re.DOTALL)


def stub_of_lib() -> ast.ClassDef:
    classes = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef)]
    (lib,) = [node for node in classes if node.name == "_Lib"]
    return lib


def test_every_name_of_the_module_is_in_the_stub() -> None:
    body = stub_of_lib().body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    constants = {
        node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert functions | constants == {name for name in dir(_native.lib) if not name.startswith("__")}


def test_every_function_has_as_many_parameters() -> None:
    for node in stub_of_lib().body:
        if isinstance(node, ast.FunctionDef):
            prototype = getattr(_native.lib, node.name).__doc__.partition("\n")[0]
            match = PARAMETERS.match(prototype)
            assert match is not None, prototype
            parameters = [each for each in match["list"].split(",") if each and each != "void"]
            assert len(node.args.args) - 1 == len(parameters), prototype
