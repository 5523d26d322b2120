"""A network that can really swallow packets: a namespace of Linux, and PostgreSQL behind it.

A proxy in user space acknowledges everything, so that TCP never notices that it forwards nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

_PORT = 5432
# In the namespace: from its address to the server's Unix socket, which is no part of any network.
_FORWARD = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def accept(reader, writer):
    server = await asyncio.open_unix_connection(sys.argv[3])
    await asyncio.gather(pump(reader, server[1]), pump(server[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(accept, sys.argv[1], int(sys.argv[2]))
    print("listening", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@dataclass
class BlackHole:
    """One address with PostgreSQL behind it."""

    namespace: str
    near: str
    far: str
    port: int = _PORT

    def swallow(self) -> None:
        """Let packets arrive there, and nothing come back, not even an acknowledgement."""
        _run("ip", "-n", self.namespace, "route", "add", "blackhole", f"{self.near}/32")

    def heal(self) -> None:
        """Undo it."""
        _run("ip", "-n", self.namespace, "route", "del", "blackhole", f"{self.near}/32")


@contextmanager
def black_hole(unix_socket: str) -> Iterator[BlackHole]:
    """Make the network, or skip the test with what this machine lacks.

    Args:
        unix_socket: The path of the server's.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("network namespaces are Linux's")
    if shutil.which("ip") is None:
        pytest.skip("the command ip is missing: Debian's package iproute2")
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    number = os.getpid()
    # Addresses for tests of networks (RFC 2544), a net of four for each process.
    third, fourth = number // 63 % 256, number % 63 * 4
    near, far = f"198.18.{third}.{fourth + 1}", f"198.18.{third}.{fourth + 2}"
    namespace, here, there = f"hole{number}", f"ha{number}", f"hb{number}"
    with ExitStack() as stack:
        try:
            _run("ip", "netns", "add", namespace)
            stack.callback(_run, "ip", "netns", "del", namespace)
            _run("ip", "link", "add", here, "type", "veth", "peer", "name", there)
            stack.callback(_run, "ip", "link", "del", here)
            _run("ip", "link", "set", there, "netns", namespace)
            _run("ip", "addr", "add", f"{near}/30", "dev", here)
            _run("ip", "link", "set", here, "up")
            _run("ip", "-n", namespace, "addr", "add", f"{far}/30", "dev", there)
            _run("ip", "-n", namespace, "link", "set", there, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
        stack.enter_context(_forwarding(namespace, far, unix_socket))
        yield BlackHole(namespace, near, far)


@contextmanager
def _forwarding(namespace: str, address: str, unix_socket: str) -> Iterator[None]:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", _FORWARD]
    process = subprocess.Popen(
        [*command, address, str(_PORT), unix_socket], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.kill()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
