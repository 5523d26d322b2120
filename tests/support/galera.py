"""Three nodes of a Galera cluster on this machine, each of which takes writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from fastapi_asyncdb.testing import MariaDBServer
from fastapi_asyncdb.testing.servers.folder import free_port, until
from tests.support.kept_mysql_tables import connect

PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
NODES = 3


class GaleraNode(MariaDBServer):
    """A node, which gets its data from the first one, by rsync.

    A daemon of rsync that root starts may not read root's files.
    """

    def _make_folder(self) -> Path:
        folder = super()._make_folder()
        if os.getuid() == 0:
            folder.chmod(0o711)
            temporary = folder / "tmp"
            temporary.mkdir()
            temporary.chmod(0o777)
        return folder

    def _arguments(self) -> list[str]:
        return [each.replace("--user=root", "--user=mysql") for each in super()._arguments()]


def provider() -> str | None:
    """Return the library that replicates, of Debian's package galera-4; ``None`` if it is missing."""
    return next((path for path in PROVIDERS if Path(path).exists()), None)


@contextmanager
def galera_cluster() -> Iterator[list[MariaDBServer]]:
    """Run the nodes for as long as the block runs.

    Yields:
        The nodes, which have all joined.
    """
    ports = [free_port() for _ in range(NODES)]
    with ExitStack() as stack:
        nodes = [stack.enter_context(_node(port, ports[0])) for port in ports]
        for node in nodes:
            until(lambda: _has_joined(node), 60, f"{node!r} has not joined within 60 s")  # noqa: B023
        yield nodes


def _has_joined(node: MariaDBServer) -> bool:
    with closing(connect(node.url())) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW STATUS WHERE variable_name IN ('wsrep_ready', 'wsrep_cluster_size')")
        return dict(cursor.fetchall()) == {"wsrep_ready": "ON", "wsrep_cluster_size": str(NODES)}


def _node(port: int, first: int) -> MariaDBServer:
    options = {
        "wsrep_on": "ON",
        "wsrep_provider": provider() or "",
        "wsrep_cluster_name": "asyncdb",
        "wsrep_cluster_address": "gcomm://" if port == first else f"gcomm://127.0.0.1:{first}",
        "wsrep_node_address": f"127.0.0.1:{port}",
        "wsrep_node_incoming_address": "127.0.0.1",
        "wsrep_provider_options": (
            f"gmcast.listen_addr=tcp://127.0.0.1:{port};ist.recv_addr=127.0.0.1:{free_port()};"
            "gcache.size=16M;pc.recovery=false"
        ),
        "wsrep_sst_method": "rsync",
        "wsrep_sst_receive_address": f"127.0.0.1:{free_port()}",
        "binlog_format": "ROW",
        "innodb_autoinc_lock_mode": "2",
    }
    return GaleraNode(options=options)
