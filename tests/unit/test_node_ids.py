"""Node ids of control files, as cgfs/mirror.py reads them (native/mirror/internal.h has the layout)."""

import pytest

from cgfs.mirror import ROOT_NODE, split_control_node


@pytest.mark.parametrize("directory", [ROOT_NODE, 2, 12345, (1 << 56) - 1])
@pytest.mark.parametrize("index", [0, 1, 2, 126])
def test_a_control_node_says_its_directory_and_row(directory: int, index: int) -> None:
    assert split_control_node(1 << 63 | index << 56 | directory) == (directory, index)
