"""The program store: programs that a control file can be given by name, `bpf:<tag>`.

Two places hold them. `objects` keeps ELF objects by content in a root-owned directory; they survive a reboot. `pins`
keeps programs that came through the ioctl, whose instructions cannot be had back, as pins in bpffs until the reboot.
`choose` says which of them a tag means for a user, `programs` is both together. The tag is a truncated hash: it names
a program, and proves nothing.
"""

from cgfs.store.programs import ProgramStore, default_store

__all__ = ["ProgramStore", "default_store"]
