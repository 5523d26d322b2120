"""An application under uvicorn, with one worker, in a process of its own."""

from __future__ import annotations

import logging
import socket
from dataclasses import asdict

import psutil
import uvicorn

from benchmarks.children import Child, InChild, answer, arguments, end_with_parent, keep_output
from benchmarks.contenders import Contender, Pool


class Server(InChild):
    """Serve an application on a free port of 127.0.0.1 for as long as the block runs.

    Raises:
        ChildFailed: the application did not start.
    """

    def __init__(self, contender: Contender, url: str, pool: Pool | None = None) -> None:
        # The parent listens, so that connections are accepted from the beginning.
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            self.port: int = listener.getsockname()[1]
            number = listener.fileno()
            self._child = Child(
                "server",
                asdict(contender),
                url,
                asdict(pool or Pool()),
                number,
                pass_fds=(number,),
            )

    def memory(self) -> int:
        """Return the bytes of memory that the process has (its resident set)."""
        memory: int = psutil.Process(self._child.pid).memory_info().rss
        return memory


class _Announcing(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            # The tracebacks of an overload would cost more than the overload.
            logging.disable()
            answer("started")


def main() -> None:
    """Serve until the parent ends the process."""
    keep_output()
    end_with_parent()
    contender, url, pool, number = arguments()
    app = Contender(**contender).create_app(url, Pool(**pool))
    config = uvicorn.Config(app, log_level="error", access_log=False, backlog=4096)
    _Announcing(config).run(sockets=[socket.socket(fileno=number)])


if __name__ == "__main__":
    main()
