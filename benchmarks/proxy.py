"""A TCP proxy: adds the delay of a network, and counts round trips."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Self

from benchmarks.children import Child, answer, arguments


class Proxy:
    """Forward connections to a port of this machine, with threads: sleeps are exact to 0.1 ms.

    Args:
        target: The port.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.delay = 0.0
        """Seconds that a round trip takes longer."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.round_trips = 0
        """How often a client spoke first, or after the server had answered."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        # Closing alone does not wake the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def accept(self) -> None:
        """Forward connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Link(self, client, socket.create_connection(("127.0.0.1", self._target)))

    def client_spoke(self, *, first: bool) -> None:
        """Count a round trip, and let the network take its time."""
        self.round_trips += first
        time.sleep(self.delay)


class _Link:
    """A client and its connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._clients_turn = True
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
        threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(65536):
                first, self._clients_turn = self._clients_turn, False
                self._proxy.client_spoke(first=first)
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError), client, server:
            while data := server.recv(65536):
                self._clients_turn = True
                client.sendall(data)


class ProxyProcess:
    """A proxy in a process of its own, where it takes no time of the application's."""

    def __init__(self, target: int) -> None:
        self._child = Child("proxy", target)
        self.port = 0

    def set_delay(self, seconds: float) -> None:
        """Let each round trip take longer from now on."""
        self._child.say(seconds)
        self._child.listen()

    def __enter__(self) -> Self:
        self._child.__enter__()
        self.port = self._child.listen()
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(*error)


def main() -> None:
    """Forward, and do what the parent says, until it ends the process."""
    with Proxy(*arguments()) as proxy:
        answer(proxy.port)
        for line in sys.stdin:
            proxy.delay = json.loads(line)
            answer("set")


if __name__ == "__main__":
    main()
