"""TLS as MySQL's clients understand it: the context of a connection; reads the files of certificates."""

from __future__ import annotations

import ssl

from fastapi_asyncdb.dialects.target import TLS
from fastapi_asyncdb.errors import ConfigurationError


def tls_context(tls: TLS) -> ssl.SSLContext | None:
    """Return the context for ``ssl-mode``; ``None`` is no TLS.

    https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode

    Raises:
        ConfigurationError: a file cannot be loaded.
    """
    if tls.mode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify-full"
    if tls.verified:
        _load_authorities(context, tls)
    else:
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        try:
            # An empty password, lest OpenSSL should ask for one on the terminal.
            context.load_cert_chain(tls.cert, tls.key, tls.key_password or "")
        except (OSError, ssl.SSLError) as error:
            raise _unusable("ssl-cert", tls.cert, error) from error
    return context


def is_required(tls: TLS) -> bool:
    """Return whether a connection without TLS is refused."""
    return tls.mode in ("require", "verify-ca", "verify-full")


def _load_authorities(context: ssl.SSLContext, tls: TLS) -> None:
    if tls.root_cert not in (None, "system"):
        try:
            context.load_verify_locations(cafile=tls.root_cert)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("ssl-ca", tls.root_cert, error) from error
    elif tls.mode == "verify-full":
        context.load_default_certs()
    else:
        raise ConfigurationError(
            "ssl-mode=VERIFY_CA in DATABASE_URL checks no host name, and the system's authorities "
            "vouch for every server. Use ssl-mode=VERIFY_IDENTITY, or name the authority of this "
            "server with ssl-ca=FILE."
        )


def _unusable(name: str, path: str | None, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{name}={path} in DATABASE_URL cannot be loaded: {error.strerror or error}. Check that the "
        "file exists in this container, is readable and in PEM format; a key of its own is named "
        "with ssl-key."
    )
