"""The life of a mount: how it starts, what it looks like, how it ends, and that nothing stays behind."""

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgfs.daemon import settings_of
from cgfs.mount_options import MountOptions
from tests.support.child import Child, run
from tests.support.command import assert_refused, called, cgfs, daemons_of, foreground, in_mount_namespace, succeed
from tests.support.daemon import cgfs_command, is_overlay, mount_of
from tests.support.objects import compile_verdict
from tests.support.places import public_directory
from tests.support.programs import ALLOW, Hook
from tests.support.threads import stop
from tests.support.users import ALICE, Namespaces
from tests.support.waiting import DEADLINE_S, until
from tests.support.watchdog import Watchdog, abort_mount


@pytest.fixture
def mountpoint(watchdog: Watchdog) -> Iterator[Path]:
    """An empty directory to mount on. The test has to unmount; neither mount nor daemon may be left."""
    path = public_directory() / "mirror"
    path.mkdir()
    watchdog.guard(path)
    try:
        yield path
        assert mount_of(path) is None, "a mount is left behind"
        until(lambda: not daemons_of(path), "the daemon has ended")
    finally:
        while mount_of(path) is not None:
            abort_mount(path)
        watchdog.release(path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def fields_of_mount(mountpoint: Path) -> tuple[str, str, set[str]]:
    """Source, type and options in /proc/mounts."""
    for line in Path("/proc/mounts").read_text().splitlines():
        source, path, kind, options, *_ = line.split()
        if path == str(mountpoint):
            return source, kind, set(options.split(","))
    raise AssertionError(f"{mountpoint} is not mounted")


# --- in the background ------------------------------------------------------------------------------------------------


def test_mount_returns_when_the_mount_answers_and_umount_ends_it(mountpoint: Path, cgroup2: Path) -> None:
    assert succeed("mount", mountpoint) == ""
    assert (mountpoint / "net.egress_filter").read_bytes().endswith(b"\n")
    source, kind, options = fields_of_mount(mountpoint)
    assert (source, kind) == (str(cgroup2), "fuse.cgfs")
    assert {"rw", "nosuid", "nodev", "noexec", "allow_other", "default_permissions"} <= options
    assert succeed("umount", mountpoint) == ""


def test_the_daemon_in_the_background_holds_on_to_nothing(mountpoint: Path, tmp_path: Path) -> None:
    with (tmp_path / "inherited").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        subprocess.run(
            ["sh", "-c", f'umask 777; exec "$0" mount "{mountpoint}"', *cgfs_command()],
            check=True,
            close_fds=False,
            cwd=tmp_path,
            timeout=60,
        )
        (daemon,) = daemons_of(mountpoint)
        process = Path(f"/proc/{daemon}")
        assert (process / "cwd").readlink() == Path("/")
        assert os.getsid(daemon) == daemon
        assert [(process / "fd" / name).readlink() for name in "01"] == [Path("/dev/null")] * 2
        log = "socket:" if Path("/dev/log").exists() else "/var/log/cgfs.log"
        assert str((process / "fd" / "2").readlink()).startswith(log)
        assert Path(inherited.name) not in {entry.readlink() for entry in (process / "fd").iterdir()}
    succeed("umount", mountpoint)


def test_the_caller_s_umask_is_the_one_that_counts(mountpoint: Path, tmp_cgroup: Path) -> None:
    subprocess.run(["sh", "-c", f'umask 777; exec "$0" mount {tmp_cgroup} {mountpoint}', *cgfs_command()], check=True)
    subprocess.run(["sh", "-c", f"umask 027; mkdir {mountpoint}/made"], check=True)
    assert (tmp_cgroup / "made").stat().st_mode & 0o7777 == 0o750
    succeed("umount", mountpoint)


def test_nobody_else_may_write_what_root_makes_whatever_the_umask(tmp_path: Path) -> None:
    """The log, where there is no syslog, and the program store."""
    script = """
        for place in /var/lib /var/log /dev; do mount -t tmpfs none $place; done
        mknod /dev/null c 1 3; mknod /dev/fuse c 10 229
        mkdir /var/lib/mirror
        umask 0
        "$1" mount /var/lib/mirror
        "$1" umount /var/lib/mirror
        "$1" program add "$2"
        stat -c "%a %n" /var/log/cgfs.log
        find /var/lib /var/log -perm /022 ! -perm -1000
    """
    program = compile_verdict(tmp_path, Hook.EGRESS, ALLOW)
    done = in_mount_namespace(script, *cgfs_command(), str(program))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.splitlines()[1:] == ["600 /var/log/cgfs.log"]


def test_read_only_is_read_only(mountpoint: Path, tmp_cgroup: Path) -> None:
    succeed("mount", "-o", "ro", tmp_cgroup, mountpoint)
    with pytest.raises(OSError) as caught:
        (mountpoint / "made").mkdir()
    assert caught.value.errno == errno.EROFS
    succeed("umount", mountpoint)


def test_noallow_other_keeps_others_out(mountpoint: Path, tmp_cgroup: Path) -> None:
    succeed("mount", "-o", "noallow_other", tmp_cgroup, mountpoint)
    with pytest.raises(PermissionError):
        run(lambda: os.listdir(mountpoint), identity=ALICE)
    assert "cgroup.procs" in os.listdir(mountpoint)
    succeed("umount", mountpoint)


def test_a_directory_inside_cgroup2_is_the_root_of_its_mirror(mountpoint: Path, tmp_cgroup: Path) -> None:
    (tmp_cgroup / "inner").mkdir()
    succeed("mount", tmp_cgroup, mountpoint)
    assert (mountpoint / "inner").stat().st_ino == (tmp_cgroup / "inner").stat().st_ino
    assert mountpoint.samefile(mountpoint / "inner" / "..")
    (mountpoint / "made").mkdir()
    assert (tmp_cgroup / "made").is_dir()
    succeed("umount", mountpoint)


def test_a_mirror_may_cover_its_source(tmp_cgroup: Path, watchdog: Watchdog) -> None:
    watchdog.guard(tmp_cgroup)
    try:
        succeed("mount", tmp_cgroup, tmp_cgroup)
        assert (tmp_cgroup / "net.ingress_filter").read_bytes() == b"none\n"
        (tmp_cgroup / "made").mkdir()
        assert (tmp_cgroup / "made" / "cgroup.procs").read_bytes() == b""
        succeed("umount", tmp_cgroup)
        assert not (tmp_cgroup / "net.ingress_filter").exists()
        assert (tmp_cgroup / "made").is_dir()
        until(lambda: not daemons_of(tmp_cgroup), "the daemon has ended")
    finally:
        while is_overlay(tmp_cgroup):
            abort_mount(tmp_cgroup)
        watchdog.release(tmp_cgroup)


# --- under a supervisor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/run/", "@"])
def test_systemd_is_told_when_the_mount_answers(mountpoint: Path, log: Path, prefix: str) -> None:
    """As with Type=notify; systemd takes an abstract socket for some of its services."""
    address = f"{prefix}cgfs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address.replace("@", "\0"))
        systemd.settimeout(DEADLINE_S)
        try:
            with foreground(mountpoint, log=log, environment={"NOTIFY_SOCKET": address}):
                assert systemd.recv(64) == b"READY=1"
                assert "serving" in log.read_text()
                succeed("umount", mountpoint)
        finally:
            Path(address).unlink(missing_ok=True)


def test_a_supervisor_that_does_not_listen_is_no_error(mountpoint: Path, log: Path) -> None:
    with foreground(mountpoint, log=log, environment={"NOTIFY_SOCKET": "/run/cgfs-test-nobody"}) as daemon:
        succeed("umount", mountpoint)
        assert daemon.wait(DEADLINE_S) == 0


def test_the_journal_gets_the_priority_of_each_line(mountpoint: Path, tmp_cgroup: Path, log: Path) -> None:
    log.touch()
    there = log.stat()
    stream = {"JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"}
    with foreground(mountpoint, tmp_cgroup, log=log, environment=stream) as daemon, Child() as child:
        child.call(os.chdir, mountpoint)
        daemon.terminate()
        daemon.wait(DEADLINE_S)
    serving, unmounting, in_use, ended = log.read_text().splitlines()
    assert serving == f"<6>serving {tmp_cgroup} on {mountpoint}"
    assert [line[:3] for line in (unmounting, in_use, ended)] == ["<6>", "<4>", "<6>"]


# --- what is refused, with nothing left behind ------------------------------------------------------------------------


def test_a_mount_that_cannot_be_says_why_in_one_line(mountpoint: Path, tmp_path: Path, cgroup2: Path) -> None:
    (tmp_path / "file").touch()
    assert_refused(cgfs("mount", tmp_path / "missing"), "mount point", "directory", str(tmp_path / "missing"))
    assert_refused(cgfs("mount", tmp_path / "file"), "mount point", "directory", str(tmp_path / "file"))
    assert_refused(cgfs("mount", "/proc", mountpoint), "source", "/proc is none", f"cgroup2 is mounted at {cgroup2}")
    assert_refused(cgfs("mount", tmp_path / "missing", mountpoint), "source", str(tmp_path / "missing"))


@pytest.mark.parametrize("source", ["cgroup2", None])
def test_mount_mounts_it_as_fstab_says(mountpoint: Path, tmp_cgroup: Path, source: str | None) -> None:
    """mount(8) finds the helper in /sbin. In a mount namespace, where /sbin has nothing else."""
    helper = str(Path(cgfs_command()[0]).with_name("mount.fuse.cgfs"))
    script = """
        mount -t tmpfs none "$(readlink -f /sbin)"
        ln -s "$1" /sbin/mount.fuse.cgfs
        /bin/mount -f -v -t fuse.cgfs -o nofail,noallow_other "$2" "$3"
        ! grep -q " $3 " /proc/self/mountinfo
        /bin/mount -t fuse.cgfs -o nofail,noallow_other "$2" "$3"
        cat "$3/net.egress_filter"
        findmnt -n -o FSTYPE "$3"
        /bin/umount "$3"
    """
    where = source or str(tmp_cgroup)
    done = in_mount_namespace(script, helper, where, str(mountpoint))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.endswith("none\nfuse.cgfs\n")


def test_a_source_on_an_unbindable_mount_is_mirrored(mountpoint: Path, cgroup2: Path, tmp_cgroup: Path) -> None:
    """The daemon has no copy of the mount then; what is written to a switch is still known when that is done."""
    script = """
        mount --make-unbindable "$2"
        "$1" mount "$2" "$3"
        cd "$3/$4"
        cat net.egress_filter cpu.pressure >/dev/null
        for word in 0 1 0; do echo $word >>cgroup.pressure; ls | grep -c cpu.pressure || true; done
        cd /
        "$1" umount "$3"
    """
    done = in_mount_namespace(
        script, *cgfs_command(), str(cgroup2), str(mountpoint), str(tmp_cgroup.relative_to(cgroup2))
    )
    assert (done.stdout, done.stderr) == ("0\n1\n0\n", ""), done


def test_a_daemon_that_cannot_mount_or_cannot_serve_leaves_nothing(mountpoint: Path) -> None:
    without_fuse = f'mount --bind /dev/null /dev/fuse; exec "$@" mount {mountpoint}'
    assert_refused(in_mount_namespace(without_fuse, *cgfs_command()), "cannot mount a mirror", str(mountpoint))
    unanswered = ["env", "PATH=/nonexistent", *cgfs_command(), "mount", str(mountpoint)]
    assert_refused(called(unanswered), "cat")  # which is to read the first file of the new mount


@pytest.mark.parametrize("descriptors", range(10, 34, 3))
def test_a_daemon_that_has_too_few_descriptors_leaves_nothing(mountpoint: Path, descriptors: int) -> None:
    limited = ["prlimit", f"--nofile={descriptors}:{descriptors}", *cgfs_command(), "mount", str(mountpoint)]
    if called(limited).returncode == 0:
        succeed("umount", mountpoint)
    assert mount_of(mountpoint) is None


def test_a_daemon_unmounts_what_is_its_own_only(mountpoint: Path, tmp_cgroup: Path, tmp_path: Path) -> None:
    """The first one's mount is in use still where another mirror is mounted."""
    with (
        foreground(mountpoint, tmp_cgroup, log=tmp_path / "first") as first,
        Child() as child,
    ):
        child.call(os.chdir, mountpoint)
        succeed("umount", "--lazy", mountpoint)
        with foreground(mountpoint, tmp_cgroup, log=tmp_path / "second") as second:
            first.terminate()
            assert first.wait(DEADLINE_S) == 0
            assert (mountpoint / "net.egress_filter").read_text() == "none\n"
            second.terminate()
            assert second.wait(DEADLINE_S) == 0
    assert mount_of(mountpoint) is None


def test_a_daemon_unmounts_nothing_that_was_mounted_over_its_mirror(
    mountpoint: Path, tmp_cgroup: Path, tmp_path: Path
) -> None:
    with foreground(mountpoint, tmp_cgroup, log=tmp_path / "log") as daemon:
        subprocess.run(["mount", "-t", "tmpfs", "precious", mountpoint], check=True)
        (mountpoint / "file").write_text("precious")
        daemon.terminate()
        assert daemon.wait(DEADLINE_S) == 0
        assert (mountpoint / "file").read_text() == "precious"
    subprocess.run(["umount", mountpoint], check=True)
    subprocess.run(["umount", mountpoint], check=True)  # nobody answers there any more


def test_a_daemon_finds_its_mirror_where_a_directory_above_was_renamed(tmp_cgroup: Path, tmp_path: Path) -> None:
    (tmp_path / "before" / "mirror").mkdir(parents=True)
    with foreground(tmp_path / "before" / "mirror", tmp_cgroup, log=tmp_path / "log") as daemon:
        (tmp_path / "before").rename(tmp_path / "after")
        daemon.terminate()
        assert daemon.wait(DEADLINE_S) == 0
    assert mount_of(tmp_path / "after" / "mirror") is None


def test_a_daemon_finds_its_mirror_among_hundreds_of_file_systems(mountpoint: Path, tmp_cgroup: Path) -> None:
    """Device numbers from 256 on have another form in the kernel than here. In a mount namespace of their own."""
    script = """
        mount -t tmpfs none "$3"
        mkdir "$3/many" "$3/mirror"
        for i in $(seq 260); do mount -t tmpfs none "$3/many"; done
        "$1" mount --foreground --ready-fd 3 "$2" "$3/mirror" 3>"$3/ready" 2>"$3/log" &
        until grep -q ready "$3/ready"; do kill -0 $!; sleep 0.05; done
        awk -v at="$3/mirror" '$5 == at { split($3, device, ":"); print device[2] }' /proc/self/mountinfo
        kill -TERM $!
        wait $!
        cat "$3/log"
        ! grep "$3/mirror " /proc/self/mountinfo
    """
    done = in_mount_namespace(script, *cgfs_command(), str(tmp_cgroup), str(mountpoint))
    assert (done.returncode, done.stderr) == (0, ""), done
    minor, *log = done.stdout.splitlines()
    assert int(minor) > 255
    assert [line.split(maxsplit=3)[3] for line in log] == [
        f"serving {tmp_cgroup} on {mountpoint}/mirror",
        f"unmounting {mountpoint}/mirror on SIGTERM",
        f"the mount at {mountpoint}/mirror has ended",
    ]


def test_a_daemon_that_cannot_serve_unmounts_nothing_below_its_mirror(tmp_cgroup: Path) -> None:
    """Where its bpffs cannot be: that is found out when the mirror is mounted, over its source here."""
    script = """
        mount -t tmpfs none /run
        mkdir /run/cgfs-bpf
        chown 1234 /run/cgfs-bpf
        mount --bind "$2" "$2"
        grep -c " $2 " /proc/self/mountinfo
        if "$1" mount "$2" "$2"; then exit 1; fi
        grep -c " $2 " /proc/self/mountinfo
    """
    done = in_mount_namespace(script, *cgfs_command(), str(tmp_cgroup))
    assert (done.returncode, done.stdout) == (0, "1\n1\n"), done
    assert "/run/cgfs-bpf" in done.stderr


def test_of_two_daemons_that_start_at_one_place_one_does(mountpoint: Path) -> None:
    for _ in range(3):
        both = [subprocess.Popen([*cgfs_command(), "mount", str(mountpoint)], stderr=subprocess.PIPE) for _ in range(2)]
        words = [process.communicate(timeout=DEADLINE_S)[1].decode() for process in both]
        assert sorted(process.returncode for process in both) == [0, 1]
        assert any("is a mirror already" in each for each in words)
        assert (mountpoint / "net.egress_filter").read_bytes()
        succeed("umount", mountpoint)
        assert mount_of(mountpoint) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_it_is_stopped_is_heeded(mountpoint: Path, tmp_path: Path, number: int) -> None:
    for _ in range(5):
        with foreground(mountpoint, log=tmp_path / "log") as daemon:
            stop(daemon.pid)
            daemon.send_signal(number)
            daemon.send_signal(signal.SIGCONT)
            assert daemon.wait(DEADLINE_S) == 0


def test_only_root_mounts(mountpoint: Path) -> None:
    with pytest.raises(PermissionError, match=r"only root .* sudo"):
        run(lambda: settings_of(mountpoint, None, MountOptions()), identity=ALICE)


def test_root_of_another_user_namespace_does_not_mount(mountpoint: Path) -> None:
    with pytest.raises(PermissionError, match="root of the host"):
        run(lambda: settings_of(mountpoint, None, MountOptions()), namespaces=Namespaces(user=True))


def test_who_forgets_the_mount_point_does_not_cover_cgroup2(tmp_cgroup: Path) -> None:
    assert_refused(cgfs("mount", tmp_cgroup), f"{tmp_cgroup} is cgroup2 itself", "as MOUNTPOINT")
    assert not is_overlay(tmp_cgroup)


def test_a_mirror_is_not_mounted_twice_at_one_place(mountpoint: Path) -> None:
    succeed("mount", mountpoint)
    assert_refused(cgfs("mount", mountpoint), "already", "cgfs umount")
    succeed("umount", mountpoint)


def test_umount_touches_nothing_but_mirrors(mountpoint: Path) -> None:
    assert_refused(cgfs("umount", mountpoint), f"{mountpoint} is no mirror")
    assert_refused(cgfs("umount", "/proc"), "/proc is no mirror")


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def not_behind_nohup() -> Iterator[None]:
    """What is started hears SIGHUP, also where these tests do not."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.usefixtures("not_behind_nohup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_unmounts(mountpoint: Path, log: Path, number: signal.Signals) -> None:
    with foreground(mountpoint, log=log) as daemon:
        os.listdir(mountpoint)
        daemon.send_signal(number)
        assert daemon.wait(DEADLINE_S) == 0
    assert "WARNING" not in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_opens_others_logs_anew_ends_nothing(mountpoint: Path, log: Path, number: signal.Signals) -> None:
    with foreground(mountpoint, log=log) as daemon:
        daemon.send_signal(number)
        assert (mountpoint / "net.egress_filter").read_bytes()
        succeed("umount", mountpoint)
        assert daemon.wait(DEADLINE_S) == 0


def test_nohup_keeps_it(mountpoint: Path, log: Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with foreground(mountpoint, log=log) as daemon:
        signal.signal(signal.SIGHUP, former)
        daemon.send_signal(signal.SIGHUP)
        os.listdir(mountpoint)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DEADLINE_S) == 0
    assert "SIGTERM" in log.read_text()


def test_a_mount_in_use_is_not_unmounted_but_reported(mountpoint: Path, tmp_cgroup: Path) -> None:
    succeed("mount", tmp_cgroup, mountpoint)
    with (mountpoint / "cgroup.procs").open("rb") as file:
        assert_refused(cgfs("umount", mountpoint), "in use", "--lazy")
        assert file.read() == b""
        succeed("umount", "--lazy", mountpoint)
        assert mount_of(mountpoint) is None
        assert (file.seek(0), file.read()) == (0, b"")


def test_a_signal_ends_a_mount_in_use_with_a_warning(mountpoint: Path, tmp_cgroup: Path, log: Path) -> None:
    with (
        foreground(mountpoint, tmp_cgroup, log=log) as daemon,
        Child() as user,
    ):
        user.call(os.chdir, mountpoint)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DEADLINE_S) == 0
        with pytest.raises(OSError) as caught:
            user.call(os.listdir, ".")
        assert caught.value.errno == errno.ENOTCONN
    assert "WARNING" in log.read_text()
    assert "in use" in log.read_text()


def test_another_daemon_takes_over_while_a_container_keeps_the_first(
    mountpoint: Path, tmp_cgroup: Path, tmp_path: Path
) -> None:
    with (
        foreground(mountpoint, tmp_cgroup, log=tmp_path / "first") as first,
        Child(namespaces=Namespaces(mount=True)) as container,
        Child() as inside,
    ):
        inside.call(os.chdir, mountpoint)
        assert_refused(cgfs("umount", mountpoint), "in use")
        succeed("umount", "--lazy", mountpoint)
        with foreground(mountpoint, tmp_cgroup, log=tmp_path / "second") as second:
            assert container.call((mountpoint / "net.egress_filter").read_text) == "none\n"
            assert inside.call(Path("net.egress_filter").read_text) == "none\n"
            assert first.poll() is None
            inside.kill()
            container.kill()
            assert first.wait(DEADLINE_S) == 0
            assert (mountpoint / "net.egress_filter").read_text() == "none\n"
            succeed("umount", mountpoint)
            assert second.wait(DEADLINE_S) == 0


def test_a_signal_ends_it_also_for_other_mount_namespaces(mountpoint: Path, tmp_cgroup: Path, log: Path) -> None:
    with (
        foreground(mountpoint, tmp_cgroup, log=log) as daemon,
        Child(namespaces=Namespaces(mount=True)) as user,
    ):
        user.call(subprocess.run, ["mount", "--make-rprivate", "/"], check=True)
        assert "cgroup.procs" in user.call(os.listdir, mountpoint)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(DEADLINE_S) == 0
        with pytest.raises(OSError) as caught:
            user.call(os.listdir, mountpoint)
        assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    assert "mounted elsewhere" in log.read_text()


def test_a_daemon_that_was_killed_can_be_started_again(mountpoint: Path, tmp_cgroup: Path, log: Path) -> None:
    with foreground(mountpoint, tmp_cgroup, log=log) as daemon:
        daemon.kill()
        daemon.wait(DEADLINE_S)
        with pytest.raises(OSError) as caught:
            os.statvfs(mountpoint)
        assert caught.value.errno == errno.ENOTCONN
    succeed("mount", tmp_cgroup, mountpoint)
    assert (mountpoint / "cgroup.procs").read_bytes() == b""
    succeed("umount", mountpoint)


def test_umount_removes_what_a_killed_daemon_left(mountpoint: Path, log: Path) -> None:
    with foreground(mountpoint, log=log) as daemon:
        daemon.kill()
    succeed("umount", mountpoint)


def test_after_umount_nobody_uses_the_source(mountpoint: Path) -> None:
    source = public_directory() / "cgroup2-that-goes"
    source.mkdir()
    try:
        for _ in range(5):
            subprocess.run(["mount", "-t", "cgroup2", "cgroup2", source], check=True)
            try:
                succeed("mount", source, mountpoint)
                succeed("umount", mountpoint)
                subprocess.run(["umount", source], check=True)
            finally:
                subprocess.run(["umount", "-l", source], check=False, capture_output=True)
    finally:
        source.rmdir()


def test_umount_does_not_wait_long_for_a_daemon_that_others_have(mountpoint: Path, tmp_cgroup: Path) -> None:
    succeed("mount", tmp_cgroup, mountpoint)
    with Child(namespaces=Namespaces(mount=True)) as other:
        other.call(os.chdir, mountpoint)
        succeed("umount", mountpoint)
        assert other.call(os.listdir, ".")


def mount_kill_and_mount_again(cgroup2: Path, log: Path) -> bytes:
    """In a child with a mount namespace of its own: mirrors over all of cgroup2. What the second one shows."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with foreground(cgroup2, cgroup2, log=log) as daemon:
        daemon.kill()
    succeed("mount", cgroup2, cgroup2)
    content = (cgroup2 / "net.ingress_filter").read_bytes()
    succeed("umount", cgroup2)
    return content


def test_a_killed_mirror_over_all_of_cgroup2_does_not_hide_it_from_the_next(cgroup2: Path, log: Path) -> None:
    with Child(namespaces=Namespaces(mount=True)) as child:
        assert child.call(mount_kill_and_mount_again, cgroup2, log) == b"none\n"
