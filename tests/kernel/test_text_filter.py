"""Text filters as programs of the kernel: what they do to packets and sockets, and that they remember their text."""

import contextlib
import errno
import functools
import gc
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs import cbpf, pcap, text_filter
from cgfs.bpf import Map, MapType, Program, ProgType
from cgfs.cbpf import Op
from cgfs.control import CONTROL_FILES, ControlFile, by_hook
from cgfs.text_filter import Counters, StoredText
from tests.support import classic, programs
from tests.support.cgroups import cgroup_id
from tests.support.classic import Line
from tests.support.network import FAMILIES, LOOPBACK, Traffic, can_create_socket, socket_error, socket_in, traffic
from tests.support.packets import Protocol, ipv4, udp
from tests.support.programs import Hook
from tests.support.waiting import until

INGRESS, EGRESS, SOCKET_CREATE = (by_hook(hook) for hook in ("ingress", "egress", "socket-create"))
DROP_ALL, PASS_ALL = "cbpf:1,6 0 0 0", "cbpf:1,6 0 0 1"
A_FILTER = {INGRESS: DROP_ALL, EGRESS: DROP_ALL, SOCKET_CREATE: "families:"}


def expression(source: str) -> str:
    return f"cbpf:{cbpf.format_program(pcap.compile_expression(source))}"


def load(text: str, file: ControlFile, only_cgroup_id: int | None = None) -> Program:
    return text_filter.load(text_filter.parse_text(text, file), file, only_cgroup_id=only_cgroup_id)


@contextlib.contextmanager
def filtering(cgroup: Path, text: str, file: ControlFile, *, only_here: bool = False) -> Iterator[Program]:
    """*text* attached to *cgroup* as the control file would."""
    with load(text, file, cgroup_id(cgroup) if only_here else None) as program:
        programs.attach(cgroup, program.fd, Hook(file.attach_type))
        try:
            yield program
        finally:
            programs.detach(cgroup, Hook(file.attach_type), program.fd)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("families:", ()),
        ("families:inet", (socket.AF_INET,)),
        ("families:inet6", (socket.AF_INET6,)),
        ("families:inet6,inet", (socket.AF_INET, socket.AF_INET6)),
    ],
)
def test_only_sockets_of_the_families_in_the_list_are_created(
    tmp_cgroup: Path, text: str, allowed: tuple[socket.AddressFamily, ...]
) -> None:
    with filtering(tmp_cgroup, text, SOCKET_CREATE):
        for family in FAMILIES:
            assert can_create_socket(tmp_cgroup, family) == (family in allowed)
            assert socket_error(tmp_cgroup, family, socket.SOCK_STREAM) == (0 if family in allowed else errno.EPERM)
        assert socket_error(tmp_cgroup, socket.AF_UNIX) == 0
        assert socket_error(tmp_cgroup, socket.AF_NETLINK) == 0
    assert can_create_socket(tmp_cgroup)


@pytest.mark.parametrize(
    ("source", "passing"),
    [
        ("ip", [socket.AF_INET]),
        ("ip6", [socket.AF_INET6]),
        ("udp", [*FAMILIES]),
        ("tcp or icmp", []),
        ("len > 0", [*FAMILIES]),
    ],
)
@pytest.mark.parametrize("file", [INGRESS, EGRESS], ids=lambda file: file.hook)
def test_an_expression_filters_the_packets_of_a_cgroup(
    tmp_cgroup: Path, file: ControlFile, source: str, passing: list[socket.AddressFamily]
) -> None:
    with traffic(tmp_cgroup) as by_family, filtering(tmp_cgroup, expression(source), file):
        for family in FAMILIES:
            expected = family in passing
            assert by_family[family].passes() == ((expected, True) if file is INGRESS else (True, expected))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_packet_begins_at_its_ip_header_in_both_directions(tmp_cgroup: Path, family: socket.AddressFamily) -> None:
    with Traffic(tmp_cgroup, family) as packets:
        inside, outside = (end.getsockname()[1] for end in (packets.inside, packets.outside))
        for file in (INGRESS, EGRESS):
            right = (outside, inside) if file is INGRESS else (inside, outside)
            for source, destination in ((inside, outside), (outside, inside)):
                text = expression(f"udp src port {source} and udp dst port {destination}")
                with filtering(tmp_cgroup, text, file):
                    expected = (source, destination) == right
                    assert packets.passes() == ((expected, True) if file is INGRESS else (True, expected))


@pytest.mark.parametrize("file", CONTROL_FILES, ids=lambda file: file.hook)
def test_a_filter_for_one_cgroup_leaves_its_descendants_alone(tmp_cgroup: Path, file: ControlFile) -> None:
    below = tmp_cgroup / "below"
    below.mkdir()
    with traffic(tmp_cgroup) as here, traffic(below) as there:
        for only_here in (True, False):
            with filtering(tmp_cgroup, A_FILTER[file], file, only_here=only_here):
                for family in FAMILIES:
                    filtered = (file is not INGRESS, file is not EGRESS)
                    assert here[family].passes() == filtered
                    assert there[family].passes() == ((True, True) if only_here else filtered)
                    assert can_create_socket(tmp_cgroup, family) == (file is not SOCKET_CREATE)
                    assert can_create_socket(below, family) == (only_here or file is not SOCKET_CREATE)


def test_a_load_reaches_all_of_a_large_packet(tmp_cgroup: Path) -> None:
    """TCP hands over packets of many kilobytes, whose data lies in fragments of memory."""
    check = [
        Line(Op.LD_LEN, 0, 0, 0),
        Line(Op.JGT_K, 0, 2, 9000),
        Line(Op.LD_W_ABS, 0, 0, 8990),
        Line(Op.JEQ_K, 0, 1, 0x61616161),
        Line(Op.RET_K, 0, 0, 1),
        Line(Op.RET_K, 0, 0, 0),
    ]
    with (
        filtering(tmp_cgroup, f"cbpf:{classic.text(check)}", EGRESS) as program,
        tcp_pair(tmp_cgroup) as (client, server),
    ):
        client.sendall(b"a" * 20000)
        assert server.recv(20000, socket.MSG_WAITALL) == b"a" * 20000
        assert dropped(program) == 0
        client.sendall(b"b" * 20000)
        until(lambda: dropped(program) > 0, "the packet with other data was dropped")


def dropped(program: Program) -> int:
    counters = text_filter.counters(program)
    assert counters is not None
    return counters.dropped


@contextlib.contextmanager
def tcp_pair(cgroup: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client inside *cgroup* and its server outside."""
    with (
        socket_in(None, socket.AF_INET, socket.SOCK_STREAM) as listener,
        socket_in(cgroup, socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.bind((LOOPBACK[socket.AF_INET], 0))
        listener.listen(1)
        listener.settimeout(30)
        client.settimeout(30)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            server.settimeout(30)
            yield client, server
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # do not send the rest again


def test_each_verdict_is_counted(tmp_cgroup: Path) -> None:
    with traffic(tmp_cgroup) as by_family, filtering(tmp_cgroup, expression("ip6"), EGRESS) as program:
        assert text_filter.counters(program) == Counters(0, 0)
        for _ in range(3):
            assert not by_family[socket.AF_INET].egress_passes()
        for _ in range(5):
            assert by_family[socket.AF_INET6].egress_passes()
        assert text_filter.counters(program) == Counters(passed=5, dropped=3)


def test_attempts_to_create_a_socket_are_counted(tmp_cgroup: Path) -> None:
    with filtering(tmp_cgroup, "families:inet6", SOCKET_CREATE) as program:
        outcomes = [can_create_socket(tmp_cgroup, family) for family in (*FAMILIES, socket.AF_INET)]
        assert text_filter.counters(program) == Counters(passed=outcomes.count(True), dropped=outcomes.count(False))


def test_what_a_filter_for_one_cgroup_does_not_judge_it_does_not_count(tmp_cgroup: Path) -> None:
    below = tmp_cgroup / "below"
    below.mkdir()
    with filtering(tmp_cgroup, "families:", SOCKET_CREATE, only_here=True) as program:
        assert can_create_socket(below)
        assert not can_create_socket(tmp_cgroup)
        assert text_filter.counters(program) == Counters(passed=0, dropped=1)


def test_a_program_of_another_kind_has_no_counters() -> None:
    with Program(programs.load(Hook.EGRESS)) as program:
        assert text_filter.counters(program) is None


LONG = ",".join(["cbpf:4096", "0 0 0 12345678", *["0 0 0 123456789"] * 4094, "6 0 0 1"])


@pytest.mark.parametrize("only_cgroup_id", [None, 1, 0x1122334455667788])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        (SOCKET_CREATE, "families:"),
        (SOCKET_CREATE, "families:inet6,inet"),
        (INGRESS, PASS_ALL),
        (EGRESS, DROP_ALL),
        (EGRESS, expression("tcp dst port 443 or udp port 53")),
        (EGRESS, PASS_ALL + ","),
        (INGRESS, LONG),
    ],
    ids=range(7),
)
def test_a_program_remembers_the_text_it_was_made_from(
    file: ControlFile, text: str, only_cgroup_id: int | None
) -> None:
    """Whoever finds it, by whatever way: it is opened anew here."""
    with load(text, file, only_cgroup_id) as loaded, Program.by_id(loaded.info().id) as found:
        assert text_filter.text_of(found) == StoredText(text, only_cgroup_id)
        info = found.info()
        assert (info.type, info.name) == (file.prog_type, text_filter.parse_text(text, file).kind.prog_name)


def test_the_kernels_tag_is_one_of_ours() -> None:
    with load(PASS_ALL, EGRESS) as program:
        assert programs.fdinfo_tag(program.fd) in text_filter.assemble(text_filter.parse(PASS_ALL), None).tags()


def text_map(program: Program) -> Map:
    for map_id in program.info().map_ids:
        found = Map.by_id(map_id)
        if found.info().name == text_filter.TEXT_MAP:
            return found
        found.close()
    raise AssertionError("no text map")


def test_nobody_can_change_the_text() -> None:
    with load(PASS_ALL, EGRESS) as program, text_map(program) as text:
        value = text.lookup(bytes(4))
        assert value is not None
        with pytest.raises(OSError, match="writing") as caught:
            text.update(bytes(4), value)
        assert caught.value.errno == errno.EPERM


def test_the_text_is_gone_with_the_program() -> None:
    with load(PASS_ALL, EGRESS) as program:
        map_ids = program.info().map_ids
    assert len(map_ids) == 2
    for map_id in map_ids:
        until(functools.partial(map_is_gone, map_id), "the kernel has freed the map")


def map_is_gone(map_id: int) -> bool:
    try:
        Map.by_id(map_id).close()
    except FileNotFoundError:
        return True
    return False


def forged(program: Program, value: bytes, *, name: str = text_filter.TEXT_MAP, freeze: bool = True) -> None:
    """Have *program* carry a map that looks like that of a text."""
    with Map.create(MapType.ARRAY, 4, len(value), 1, name) as imitation:
        imitation.update(bytes(4), value)
        if freeze:
            imitation.freeze()
        program.bind_map(imitation)


def stored(text: bytes, only_cgroup_id: int = 0) -> bytes:
    return struct.pack("<Q", only_cgroup_id) + text


@pytest.mark.parametrize(
    "value",
    [
        stored(PASS_ALL.encode()),
        stored(b"families:inet"),
        stored(b"families:inet,inet6"),
        stored(b"\xff\xfe"),
        stored(b"none"),
        stored(b"x"),
        b"short",
        bytes(8),
        stored(b"cbpf:" + b"9" * 65536),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("hook", Hook)
def test_a_program_with_a_text_that_is_not_its_own_has_none(hook: Hook, value: bytes) -> None:
    with Program(programs.load(hook)) as program:
        forged(program, value)
        assert text_filter.text_of(program) is None


def unbound(text: str, file: ControlFile, only_cgroup_id: int | None = None) -> Program:
    """The program of *text* without a text."""
    with Map.create(MapType.PERCPU_ARRAY, 4, 8, 2, text_filter.COUNTERS_MAP) as counters:
        code = text_filter.assemble(text_filter.parse(text), only_cgroup_id).with_maps(
            {text_filter.COUNTERS_MAP: counters.fd}
        )
        return Program.load(file.prog_type, code, name="imitation", expected_attach_type=file.attach_type)


@pytest.mark.parametrize(
    "value",
    [stored(DROP_ALL.encode()), stored(PASS_ALL.encode(), 5), stored(PASS_ALL.encode() + b"x"), stored(b"families:")],
    ids=range(4),
)
def test_another_filters_text_is_not_believed(value: bytes) -> None:
    with unbound(PASS_ALL, EGRESS) as program:
        forged(program, value)
        assert text_filter.text_of(program) is None


def test_a_text_counts_only_where_nobody_can_change_it() -> None:
    with unbound(PASS_ALL, EGRESS) as program:
        assert text_filter.text_of(program) is None
        forged(program, stored(PASS_ALL.encode()), freeze=False)
        assert text_filter.text_of(program) is None
    with unbound(PASS_ALL, EGRESS) as program:
        forged(program, stored(PASS_ALL.encode()), name="cgfs_texts")
        assert text_filter.text_of(program) is None
    with unbound(PASS_ALL, EGRESS) as program:
        forged(program, stored(PASS_ALL.encode()))
        assert text_filter.text_of(program) == StoredText(PASS_ALL, None)


def test_a_whole_filter_judges_packets_as_its_classic_program_does() -> None:
    """What stands around the translation (counting, one cgroup only) changes no verdict."""
    source = expression("udp dst port 53")
    packets = [ipv4(Protocol.UDP, udp(1000, port)) for port in (52, 53, 54)]
    program = classic.lines(cbpf.parse(source.removeprefix("cbpf:")))
    verdicts = classic.kernel_verdicts(program, packets)
    assert verdicts == [False, True, False]
    with load(source, EGRESS) as loaded:
        assert [bool(classic.verdict(loaded.fd, packet)) for packet in packets] == verdicts
        assert text_filter.counters(loaded) == Counters(passed=1, dropped=2)


def test_loading_leaves_no_descriptor_behind() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with load(PASS_ALL, EGRESS) as program:
        text_filter.text_of(program)
        text_filter.counters(program)
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_text_of_the_wrong_program_type_is_no_proof() -> None:
    """The same instructions may be a program of another type."""
    code = text_filter.assemble(text_filter.parse(PASS_ALL), None)
    with Map.create(MapType.PERCPU_ARRAY, 4, 8, 2, text_filter.COUNTERS_MAP) as counters:
        instructions = code.with_maps({text_filter.COUNTERS_MAP: counters.fd})
        with Program.load(ProgType.SOCKET_FILTER, instructions, name="other") as program:
            forged(program, stored(PASS_ALL.encode()))
            assert text_filter.text_of(program) is None
