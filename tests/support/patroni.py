"""A Patroni cluster on this machine: etcd, three PostgreSQL nodes, and HAProxy in front of them.

https://patroni.readthedocs.io/en/latest/
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
import psycopg
from packaging.version import Version

from fastapi_asyncdb.testing.servers.folder import free_port, roomy_memory, until
from fastapi_asyncdb.testing.servers.watchdog import ServerGuard

PROGRAMS = {"etcd": "etcd-server", "patroni": "patroni", "haproxy": "haproxy"}
"""Each program, and Debian's package that has it."""
NODES = 3
SOON = 60.0
"""Seconds that a step of the cluster may take, on a busy machine."""
TIMINGS = {"ttl": 5, "loop_wait": 1, "retry_timeout": 2}
"""Seconds. Patroni 3.1 and newer raise them to 20, 1 and 3; ttl >= loop_wait + 2 * retry_timeout."""

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
_DEBIAN = Path("/usr/lib/postgresql")
_OPTIONS = {
    # Servers are killed, the machine is not.
    "fsync": "off",
    "dynamic_shared_memory_type": "mmap",
    "max_wal_size": "256MB",
    "wal_keep_size": "128MB",
    "wal_retrieve_retry_interval": "100ms",
}
_FOLLOWERS = (
    "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming'"
)
_HBA = [
    "local all all trust",
    "host all all 127.0.0.1/32 trust",
    "host replication all 127.0.0.1/32 trust",
]
# https://patroni.readthedocs.io/en/latest/rest_api.html#health-check-endpoints
_HAPROXY = """\
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout check 1s
    http-check expect status 200
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
listen primary
    bind 127.0.0.1:{primary}
    option httpchk OPTIONS /primary
    {servers}
listen replicas
    bind 127.0.0.1:{replicas}
    option httpchk OPTIONS /replica
    {servers}
"""


@cache
def _dcs() -> str:
    """Return the interface of etcd that this Patroni uses safely.

    Before 3.0.3 a leader that wakes up after its lease has expired overwrites its successor's key with
    ``etcd3``, and loses what the successor has acknowledged: https://github.com/patroni/patroni/pull/2689
    """
    said = subprocess.run(["patroni", "--version"], check=True, capture_output=True, text=True)
    return "etcd" if Version(said.stdout.split()[-1]) < Version("3.0.3") else "etcd3"


def missing_packages() -> str | None:
    """Return a sentence about the packages that are not installed; ``None`` if all are."""
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=_PATH)]
    if _postgres_programs() is None:
        missing.append("postgresql")
    return f"not installed: apt-get install {' '.join(missing)}" if missing else None


def _postgres_programs() -> Path | None:
    folders = sorted(_DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name))
    return folders[-1] if folders else None


class Program:
    """A process that runs in the foreground, in a session of its own.

    Args:
        folder: The cluster's: the watchdog ends what names it in its command line.
        command: The command line.
        name: Of its log and of its PID file.
    """

    def __init__(self, folder: Path, command: Sequence[str], name: str) -> None:
        self._folder = folder
        self._command = command
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, as the owner of the folder: PostgreSQL refuses to be run by root."""
        owner = pwd.getpwuid(self._folder.stat().st_uid)
        other = owner.pw_uid != os.getuid()
        data = self._folder / "data"
        with (data / f"{self._name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=data,
                env={"PATH": _PATH, "LANG": "C.UTF-8", "HOME": str(data)},
                start_new_session=True,
                user=owner.pw_uid if other else None,
                group=owner.pw_gid if other else None,
                extra_groups=[] if other else None,
            )
        (data / f"{self._name}.pid").write_text(f"{self._process.pid}\n")

    def is_running(self) -> bool:
        """Return whether it runs."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class PatroniNode:
    """A PostgreSQL server, and the Patroni that decides what it is.

    Args:
        folder: The cluster's.
        number: Of the node.
        etcd: The port of etcd.
    """

    def __init__(self, folder: Path, number: int, etcd: int) -> None:
        self.name = f"node{number}"
        self.port, self.rest_port = free_port(), free_port()
        # The watchdog looks for servers in folders whose name begins so.
        self._data = folder / f"r{number}" / "data"
        self._data.parent.mkdir()
        shutil.chown(self._data.parent, folder.stat().st_uid)
        file = folder / "data" / f"{self.name}.yml"
        # Whatever is JSON is YAML.
        file.write_text(json.dumps(self._settings(etcd), indent=1))
        self._patroni = Program(folder, ["patroni", str(file)], self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} 127.0.0.1:{self.port}>"

    def url(self, driver: str) -> str:
        """Return a URL with this node alone."""
        return f"postgresql+{driver}://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL; after ``kill()`` it joins as a replica.

        A node that runs is left alone.
        """
        if not self._patroni.is_running():
            self._patroni.start()

    def kill(self) -> None:
        """Kill Patroni and all processes of PostgreSQL at once, as if the machine were gone."""
        servers = self._servers()
        self._patroni.kill()
        _send(servers, signal.SIGKILL)
        psutil.wait_procs(servers, timeout=SOON)
        # In containers without an init process zombies stay, which a start takes for a running server.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the clock of the node: the kernel still accepts connections and acknowledges."""
        self._patroni.send(signal.SIGSTOP)
        _send(self._servers(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if no time had passed."""
        # PostgreSQL first: what it does until Patroni looks is the danger of a sleeping leader.
        _send(self._servers(), signal.SIGCONT)
        self._patroni.send(signal.SIGCONT)

    def remove(self) -> None:
        """End all processes; PostgreSQL frees its shared memory."""
        servers = self._servers()
        self._patroni.kill()
        _send(servers, signal.SIGQUIT)
        _send(servers, signal.SIGCONT)
        psutil.wait_procs(servers, timeout=SOON)

    def answers(self, question: str) -> bool:
        """Return whether Patroni says yes: ``/primary``, ``/replica``, ``/sync``, ``/health``."""
        try:
            return self._get(question)[0] == 200
        except (OSError, HTTPException):
            return False

    def followers(self) -> dict[str, str]:
        """Return of each replica that streams from this leader whether a COMMIT waits for it."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        try:
            with closing(psycopg.connect(url, connect_timeout=2)) as connection:
                return dict(connection.execute(_FOLLOWERS).fetchall())
        except psycopg.OperationalError:
            return {}

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.rest_port, timeout=1)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _servers(self) -> list[psutil.Process]:
        """Return the processes of PostgreSQL, the main one first: it restarts the others."""
        try:
            main = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
            mine = str(self._data) in main.cmdline()
            return [main, *main.children(recursive=True)] if mine else []
        except (OSError, ValueError, IndexError, psutil.Error):
            return []

    def _settings(self, etcd: int) -> Mapping[str, Any]:
        address = f"127.0.0.1:{self.rest_port}"
        return {
            "scope": "asyncdb",
            "name": self.name,
            "restapi": {"listen": address, "connect_address": address},
            _dcs(): {"hosts": [f"127.0.0.1:{etcd}"]},
            "bootstrap": {
                "dcs": {
                    **TIMINGS,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": _OPTIONS},
                },
                "initdb": ["no-sync", {"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self._data),
                "bin_dir": str(_postgres_programs()),
                "pgpass": str(self._data.parent / "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "replicator"},
                    "rewind": {"username": "postgres"},
                },
                "parameters": {"unix_socket_directories": str(self._data.parent)},
                "pg_hba": _HBA,
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
            },
        }


class PatroniCluster:
    """The nodes, and the addresses that lead to them.

    Args:
        folder: Of its own.
    """

    def __init__(self, folder: Path) -> None:
        data = folder / "data"
        data.mkdir()
        shutil.chown(data, folder.stat().st_uid)
        etcd, peers = free_port(), free_port()
        self.primary_port, self.replica_port = free_port(), free_port()
        self.nodes = [PatroniNode(folder, number, etcd) for number in range(NODES)]
        (data / "haproxy.cfg").write_text(self._haproxy())
        self._programs = [
            Program(folder, _etcd(data / "etcd", etcd, peers), "etcd"),
            Program(folder, ["haproxy", "-db", "-f", str(data / "haproxy.cfg")], "haproxy"),
        ]

    def start(self) -> None:
        """Start everything; wait until all nodes are there."""
        for program in self._programs:
            program.start()
        self.mend()

    def remove(self) -> None:
        """End everything."""
        for each in self.nodes:
            each.remove()
        for program in self._programs:
            program.kill()

    def url(self, driver: str, query: str = "") -> str:
        """Return a URL with all nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql+{driver}://postgres@{hosts}/postgres{query}"

    def proxied_url(self, driver: str, *, replicas: bool = False) -> str:
        """Return a URL that leads through HAProxy to the leader, or to a replica."""
        port = self.replica_port if replicas else self.primary_port
        return f"postgresql+{driver}://postgres@127.0.0.1:{port}/postgres"

    def leader(self, *, other_than: PatroniNode | None = None, within: float = SOON) -> PatroniNode:
        """Wait until a node says that it is the leader, and return it.

        Args:
            other_than: The last one, which is not asked.
            within: Seconds.
        """
        nodes = [node for node in self.nodes if node is not other_than]
        found: list[PatroniNode] = []

        def look() -> bool:
            found.extend(node for node in nodes if node.answers("/primary"))
            return bool(found)

        until(look, within, f"no leader within {within:g} s")
        return found[0]

    def mend(self) -> None:
        """Let all nodes run that a test has killed or frozen, and wait until they are there."""
        for node in self.nodes:
            node.thaw()
            node.start()
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        """Wait until there is a leader, with a synchronous replica and another one."""
        until(self._is_healthy, SOON, f"the cluster is not healthy within {SOON:g} s")

    def _is_healthy(self) -> bool:
        leaders = [node for node in self.nodes if node.answers("/primary")]
        # Patroni's own words are those of a second ago.
        followers = leaders[0].followers() if len(leaders) == 1 else {}
        if sorted(followers.values()) != ["async", "sync"]:
            return False
        # Only a node of which Patroni has noted that it is synchronous may become the leader.
        return any(
            node.answers("/sync") for node in self.nodes if followers.get(node.name) == "sync"
        )

    def _haproxy(self) -> str:
        servers = "\n    ".join(
            f"server {node.name} 127.0.0.1:{node.port} check port {node.rest_port}"
            for node in self.nodes
        )
        return _HAPROXY.format(
            primary=self.primary_port, replicas=self.replica_port, servers=servers
        )


@contextmanager
def patroni_cluster() -> Iterator[PatroniCluster]:
    """Run a cluster for as long as the block runs.

    Yields:
        The cluster, with a leader, a synchronous replica and another one.
    """
    folder = Path(tempfile.mkdtemp(prefix="pt", dir=roomy_memory()))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    guard = ServerGuard(folder)
    cluster = PatroniCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
        shutil.rmtree(folder)
        guard.dismiss()


def _etcd(data: Path, clients: int, peers: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    return [
        "etcd",
        f"--data-dir={data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        *(["--enable-v2"] if _dcs() == "etcd" else []),
    ]


def _send(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
