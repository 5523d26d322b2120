"""``compose.yaml``: what a mistake would open to the network, or leave without a check."""

import re
from pathlib import Path

TEXT = (Path(__file__).parent.parent / "compose.yaml").read_text()
SERVICES = dict(
    re.findall(
        r"^  (\w+):\n((?:    .*\n|\n)+)", TEXT.partition("services:\n")[2], flags=re.MULTILINE
    )
)


def test_services_listen_on_this_machine_alone():
    """Their passwords are known to everybody."""
    assert list(SERVICES) == ["postgresql", "mariadb", "redis", "mongodb"]
    for service in SERVICES.values():
        [port] = re.findall(r'- "(.+:\d+)"', service)
        address, outer, inner = port.split(":")
        assert (address, outer) == ("127.0.0.1", inner)
        assert "network_mode" not in service


def test_services_are_checked_and_pinned():
    """``docker compose up --wait`` waits for each; an image has a version."""
    for service in SERVICES.values():
        assert "    healthcheck:\n" in service
        assert re.search(r"^    image: \w+:\d", service, re.MULTILINE)
    assert '"--replSet", "rs0"' in SERVICES["mongodb"]


def test_volumes_are_declared():
    """Those that services mount, and no others."""
    mounted = set(re.findall(r"^      - (\w+):/", TEXT, re.MULTILINE))
    declared = set(re.findall(r"^  (\w+):$", TEXT.partition("\nvolumes:\n")[2], re.MULTILINE))
    assert mounted == declared
