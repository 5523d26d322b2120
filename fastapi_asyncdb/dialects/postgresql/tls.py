"""TLS as libpq understands it, for asyncpg and psycopg; reads the files of certificates."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi_asyncdb.dialects.target import TLS, supplier
from fastapi_asyncdb.errors import ConfigurationError


def libpq_arguments(tls: TLS) -> dict[str, Any]:
    """Return libpq's own parameters; none leave it to libpq: ``PGSSLMODE``, else ``prefer``."""
    if tls == TLS():
        return {}
    arguments: dict[str, Any] = {
        "sslmode": tls.mode,
        # libpq trusts the system's authorities only with this word.
        "sslrootcert": _root_cert(tls) if tls.mode == "verify-full" else tls.root_cert,
        "sslcert": tls.cert,
        "sslkey": tls.key,
        # A function, as the password of the user, and for the same reason.
        "sslpassword": None if tls.key_password is None else supplier(tls.key_password),
    }
    return {name: value for name, value in arguments.items() if value is not None}


def asyncpg_ssl(tls: TLS) -> str | ssl.SSLContext | None:
    """Return what asyncpg takes for libpq's parameters, which it reads only inside its own DSN.

    ``None`` leaves it to asyncpg, which has libpq's defaults. A certificate of the client's makes
    TLS a must: asyncpg falls back to plain text only by itself.
    """
    if tls == TLS():
        return None
    if tls.mode == "disable" or not (tls.verified or tls.cert):
        return tls.mode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["postgresql"])
    context.check_hostname = tls.mode == "verify-full"
    if tls.verified:
        _load_authorities(context, tls)
    else:
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        with _loading("sslcert", tls.cert):
            # An empty password, lest OpenSSL should ask for one on the terminal.
            context.load_cert_chain(tls.cert, tls.key, tls.key_password or "")
    return context


def _load_authorities(context: ssl.SSLContext, tls: TLS) -> None:
    root_cert = _root_cert(tls)
    if root_cert != "system":
        with _loading("sslrootcert", root_cert):
            context.load_verify_locations(cafile=root_cert)
    elif tls.mode == "verify-full":
        context.load_default_certs()
    else:
        raise ConfigurationError(
            f"sslmode={tls.mode} in DATABASE_URL checks no host name, and the system's authorities "
            "vouch for every server. Use sslmode=verify-full, or name the authority of this server "
            "with sslrootcert=FILE."
        )


def _root_cert(tls: TLS) -> str:
    """Return libpq's file of authorities if there is one, else ``system``."""
    own = os.path.expanduser("~/.postgresql/root.crt")  # noqa: PTH111 - Path raises without a home
    named = tls.root_cert or os.environ.get("PGSSLROOTCERT")
    return named or (own if Path(own).exists() else "system")


@contextmanager
def _loading(name: str, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"{name}={path} in DATABASE_URL cannot be loaded: {error.strerror or error}. Check that "
            "the file exists in this container, is readable and in PEM format; a key of its own is "
            "named with sslkey, its password with sslpassword."
        ) from error
