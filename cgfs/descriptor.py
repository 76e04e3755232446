"""A file descriptor with one owner: who has the object closes it, by `with`."""

import os
from types import TracebackType
from typing import Self


class Descriptor:
    """Takes ownership of *fd*. `fd` may be lent to whoever uses it before the end of the `with` block."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def fd(self) -> int:
        if self._fd < 0:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._fd

    def fileno(self) -> int:
        """The same as `fd`: any function that takes a descriptor takes the object."""
        return self.fd

    def close(self) -> None:
        """Close the descriptor. Closing twice is no error."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self._fd < 0 else self._fd}>"
