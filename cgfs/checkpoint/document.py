"""The document that a checkpoint is: its parts, and its JSON, both ways. Pure.

    {"format": "cgfs-checkpoint", "version": 1,
     "cgroups": {"PATH": {"FILE": {"content": "none\n", "uid": 0, "gid": 0, "mode": "0644"}}},
     "programs": {"SHA256": "BASE64 OF THE OBJECT"}}

PATH is relative to the cgroup that was saved, "." being itself.
"""

import base64
import binascii
import errno
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn

from cgfs.control import CONTROL_FILES

FORMAT = "cgfs-checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True)
class FileState:
    """What a control file says, whose it is, and its permission bits."""

    content: str
    uid: int
    gid: int
    mode: int


Cgroups = dict[str, dict[str, FileState]]


@dataclass(frozen=True, slots=True)
class Document:
    """The files of each cgroup, by relative path and name; objects of the program store by their SHA-256."""

    cgroups: Cgroups
    programs: dict[str, bytes] = field(default_factory=dict)


def to_json(document: Document) -> str:
    value = {
        "format": FORMAT,
        "version": VERSION,
        "cgroups": {
            path: {
                name: {"content": state.content, "uid": state.uid, "gid": state.gid, "mode": f"{state.mode:04o}"}
                for name, state in files.items()
            }
            for path, files in document.cgroups.items()
        },
        "programs": {
            digest: base64.b64encode(content).decode("ascii") for digest, content in document.programs.items()
        },
    }
    return json.dumps(value, indent=2) + "\n"


def from_json(text: str | bytes) -> Document:
    """The document in *text*. Raises OSError EINVAL, which says what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(f"it is no JSON ({error})")
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        _refuse(f'its "format" is not "{FORMAT}": `cgfs save` writes such documents')
    if value.get("version") != VERSION:
        _refuse(f'its "version" is {value.get("version")!r}, and this cgfs reads {VERSION}')
    cgroups = {path: _files(path, files) for path, files in _mapping(value, "cgroups").items()}
    programs = {digest: _object(digest, content) for digest, content in _mapping(value, "programs").items()}
    return Document(cgroups, programs)


def _refuse(reason: str) -> NoReturn:
    raise OSError(errno.EINVAL, f"this is no checkpoint: {reason}")


def _is_a_name(path: str) -> bool:
    """Whether the kernel can be asked for it; other surrogates than those of os.fsdecode() stand for nothing."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _mapping(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        _refuse(f'its "{name}" is no object')
    return found


def _files(path: str, files: Any) -> dict[str, FileState]:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not _is_a_name(path):
        _refuse(f"{path!r} is no path below the cgroup that was saved")
    if not isinstance(files, dict):
        _refuse(f"what it says of {path!r} is no object")
    known = {file.name for file in CONTROL_FILES}
    unknown = sorted(set(files) - known)
    if unknown:
        _refuse(f"{unknown[0]!r} is no control file; there are {', '.join(sorted(known))}")
    return {name: _state(f"{path}/{name}", state) for name, state in files.items()}


def _state(where: str, value: Any) -> FileState:
    try:
        state = FileState(value["content"], value["uid"], value["gid"], int(value["mode"], 8))
    except (KeyError, TypeError, ValueError):
        _refuse(f'{where} needs "content", "uid", "gid" and "mode" (octal, a string)')
    ids_are_ids = all(type(number) is int and 0 <= number < 2**32 - 1 for number in (state.uid, state.gid))
    is_text = isinstance(state.content, str) and state.content.isascii()
    if not is_text or not ids_are_ids or not 0 <= state.mode <= 0o777:
        _refuse(f"{where}: the content is an ASCII string, uid and gid are numbers, and the mode at most 0777")
    return state


def _object(digest: str, text: Any) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        _refuse(f"program {digest} is no base64")
    if hashlib.sha256(content).hexdigest() != digest:
        _refuse(f"program {digest} is damaged: its SHA-256 is another")
    return content
