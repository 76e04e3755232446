"""Node ids of control files, as cgfs/mirror.py makes and reads them (native/mirror/internal.h has the layout)."""

import pytest

from cgfs.mirror import ROOT_NODE, control_node, split_control_node


@pytest.mark.parametrize("directory", [ROOT_NODE, 2, 12345, (1 << 56) - 1])
@pytest.mark.parametrize("index", [0, 1, 2, 126])
def test_a_control_node_says_its_directory_and_row(directory: int, index: int) -> None:
    node = control_node(directory, index)
    assert split_control_node(node) == (directory, index)
    assert node < 1 << 64


def test_control_nodes_differ() -> None:
    nodes = {control_node(directory, index) for directory in range(1, 20) for index in range(3)}
    assert len(nodes) == 19 * 3
