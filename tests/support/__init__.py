"""What the tests share, a module a subject.

waiting.py   wait for a state, with a deadline
cgroups.py   real cgroups on the cgroup2 mount, removed with everything in them
child.py     run functions in another process: in a cgroup, as somebody else, in namespaces of its own
users.py     who a child is: ids, groups, capabilities, namespaces
syscalls.py  the system calls that Python lacks
programs.py  tiny BPF programs, and attach, detach and query past cgfs, by bpf(2) itself
bpftool.py   what bpftool says of a cgroup
network.py   sockets and packets over loopback that say whether a filter let them pass
daemon.py    the real daemon, as a process of its own
watchdog.py  ends a mount that hangs, so that a test run never does
"""
