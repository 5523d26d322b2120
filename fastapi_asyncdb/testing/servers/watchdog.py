"""Removes the server of a test process that was killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

# The pipe is closed when the owner ends; a line in it says that the folder is removed already.
# Without "ps" the server is not stopped, and ends within two minutes, since its folder is gone.
_SCRIPT = """
read -r line && exit
signal() {
    for file in "$0"/data/*.pid "$0"/r*/data/*.pid; do
        read -r pid < "$file" && ps -wwo args= -p "$pid" | grep -qF "$0" && kill "-$1" "$pid"
    done
}
signal QUIT
# For those that stand still, and then for those that do not end.
signal CONT
sleep 1
signal KILL
rm -rf "$0"
"""


class ServerGuard:
    """A process that waits for the end of this one, and then stops the server and removes its folder.

    Args:
        folder: The server's, with those of its standbys in it.
    """

    def __init__(self, folder: Path) -> None:
        # In a session of its own, since Ctrl-C goes to all processes of a terminal.
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            ("/bin/sh", "-c", _SCRIPT, str(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the process: the folder is removed."""
        self._process.communicate(b"\n")
