"""The benchmark: cgfs and its peers beside cgroup2 itself, in one run. `scripts/bench --help` says how."""
