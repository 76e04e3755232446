"""cgroup2 and its mirror, act by act.

Each act (acts_*.py) is a small piece of what programs do to cgroups. It is done twice, by processes that are equal in
everything, in twin cgroups: once by the path on cgroup2, once by the path on the mirror. What the act gave (value or
errno) and what both cgroups look like afterwards has to be equal, unless differences.py says why not.

    base/                one for each side; delegated to the actor, root of its cgroup namespace where it has one
      home/              the actor and `mine`, a sleeping child of the actor
      tree-N/            made afresh for every act, the actor's:
        a/  a/deep/  b/    the actor's
        roots/             not delegated: root's
    outside/             not delegated; `foreign`, a sleeping process of root

CGFS_TEST_MIRROR=cgroup2 compares cgroup2 with itself: an act that differs then is not fit for the comparison.
"""
