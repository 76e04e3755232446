"""Open control files by their handles: what is known of them, and for how long."""

from cgfs.caller import Credentials
from cgfs.handles import OpenFile, OpenFiles

OPENER = Credentials(0, 0, 1, "opener", frozenset(), frozenset())


def test_a_writer_is_known_until_it_is_removed() -> None:
    files = OpenFiles()
    assert files.get(1) is None
    files.add(1, OpenFile(7, OPENER))
    file = files.get(1)
    assert file is not None
    assert (file.node, file.opener) == (7, OPENER)
    assert files.readable(1, 7) is file
    files.remove(1)
    files.remove(1)
    assert files.get(1) is None


def test_a_reader_is_known_from_its_first_read_on_and_may_not_write() -> None:
    files = OpenFiles()
    file = files.readable(2, 9)
    assert (file.node, file.opener) == (9, None)
    assert files.readable(2, 9) is files.get(2) is file


def test_a_content_that_many_read_is_there_once() -> None:
    files = OpenFiles()
    first = files.snapshot(b"long")
    assert files.snapshot(b"".join([b"lo", b"ng"])) is first
    assert files.snapshot(b"other") is not first
