"""The ready file: appears whole when the server serves, goes when it does not."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


class ReadyFile:
    """A file that holds the server's URI exactly while it serves.

    A file left behind by a server that was killed is removed first, so that nobody who waits for
    it takes the old address for the new one.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, naming --ready-file, where the file cannot be made."""
        self.path = path
        self._content = ""
        try:
            path.unlink(missing_ok=True)
            self._replace("")  # refuse now, not after the feeds are loaded
            path.unlink()
        except OSError as error:
            raise OSError(
                f"cannot write --ready-file {path}: {error.strerror}; "
                "choose a file in an existing directory that this user may write to"
            ) from error

    def announce(self, uri: str) -> None:
        """Makes the file, in one step, with `uri` and a newline in it."""
        self._content = f"{uri}\n"
        self._replace(self._content)

    def remove(self) -> None:
        """Removes the file, unless another server has announced itself there since."""
        with contextlib.suppress(OSError):
            if self._content and self.path.read_text() == self._content:
                self.path.unlink()

    def _replace(self, content: str) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
