"""What the tests share, a module a subject.

waiting.py   wait for a state, with a deadline
cgroups.py   real cgroups on the cgroup2 mount, removed with everything in them
places.py    directories that every user can reach
child.py     run functions in another process: in a cgroup, as somebody else, in namespaces of its own
users.py     who a child is: ids, groups, capabilities, namespaces
syscalls.py  the system calls that Python lacks
programs.py  tiny BPF programs, and attach, detach and query past cgfs, by bpf(2) itself
objects.py   BPF programs compiled by clang, as ELF objects
classic.py   classic BPF programs, judged by the kernel
packets.py   IP packets made by hand
bpftool.py   what bpftool says of a cgroup
network.py   sockets and packets over loopback that say whether a filter let them pass
inotify.py   what a watcher sees
hold.py      hold a directory's lock, so that a request is as slow as a test wants
daemon.py    the real daemon, as a process of its own
command.py   the `cgfs` command, as a user calls it
control.py   the ioctl of the control files
watchdog.py  ends a mount that hangs, so that a test run never does
runtimes.py  crun, runc and podman with cgroup2 alone, and a bundle for them
"""
