"""The document of a checkpoint, both ways."""

import errno
import hashlib
import json
from typing import Any

import pytest

from cgfs.checkpoint.document import Document, FileState, from_json, to_json

OBJECT = b"\x7fELF and so on"
DOCUMENT = Document(
    {
        ".": {"net.egress_filter": FileState("families:inet\n", 0, 0, 0o644)},
        "a/b": {"net.ingress_filter": FileState("none\n", 1000, 1000, 0o600)},
    },
    {hashlib.sha256(OBJECT).hexdigest(): OBJECT},
)


def changed(**values: Any) -> str:
    return json.dumps(json.loads(to_json(DOCUMENT)) | values)


def with_state(**values: Any) -> str:
    state = {"content": "none\n", "uid": 0, "gid": 0, "mode": "0644"} | values
    return changed(cgroups={".": {"net.egress_filter": state}})


def test_what_is_written_is_read_again() -> None:
    assert from_json(to_json(DOCUMENT)) == DOCUMENT


def test_the_json_is_for_people_too() -> None:
    assert '"mode": "0644"' in to_json(DOCUMENT)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        (b"\x7fELF\xff\xfe", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "format"),
        ("{}", "format"),
        (changed(version=2), "version"),
        (changed(cgroups=[]), "cgroups"),
        (changed(programs=None), "programs"),
        (changed(cgroups={"/etc": {}}), "no path"),
        (changed(cgroups={"../up": {}}), "no path"),
        (changed(cgroups={".": []}), "no object"),
        (changed(cgroups={".": {"cgroup.procs": {}}}), "no control file"),
        (changed(cgroups={".": {"net.egress_filter": {}}}), "needs"),
        (with_state(mode="0999"), "needs"),
        (with_state(mode=420), "needs"),
        (with_state(uid=-1), "numbers"),
        (with_state(uid=True), "numbers"),
        (with_state(gid=2**32 - 1), "numbers"),
        (with_state(content=None), "string"),
        (with_state(content="families:é\n"), "ASCII"),
        (changed(cgroups={"\ud900": {}}), "no path"),
        (changed(programs={"0" * 64: "AAAA"}), "damaged"),
        (changed(programs={"0" * 64: "*"}), "base64"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_words(text: str | bytes, says: str) -> None:
    with pytest.raises(OSError, match=says) as caught:
        from_json(text)
    assert caught.value.errno == errno.EINVAL
