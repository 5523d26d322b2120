"""What happens with each library: the tables of docs/coming-from.

The tests of this project measure it on PostgreSQL; tests/test_docs.py compares the pages.
"""

SITUATIONS = {
    "commit-fails": "`COMMIT` fails",
    "raises": "`HTTPException(409)` after a write",
    "returns": "`Response(status_code=409)` is returned after a write",
    "redirects": "a redirect is returned after a write",
    "swallows": "a statement fails, the handler catches the error and goes on",
    "background": "a background task writes with the session",
    "background-fails": "a background task reads with the session, and then fails",
    "stream": "a stream reads with the session",
    "socket": "a WebSocket reads with the session",
    "keeps": "the session is used after the request",
    "pool": "all connections are in use for `pool_timeout` seconds",
}
"""The path of the probe, and the row of the table."""

AFTER = {
    "commit-fails": "`409`, not stored",
    "raises": "`409`, not stored",
    "returns": "`409`, stored",
    "redirects": "`303`, stored",
    "swallows": "`500`, not stored",
    "background": "`201`, stored",
    "background-fails": "`201`, stored",
    "stream": "works",
    "socket": "works",
    "keeps": "`SessionClosed`",
    "pool": "`503`",
}

BEFORE = {
    "textbook": {
        "commit-fails": "`201`, not stored",
        "raises": "`409`, not stored",
        "returns": "`409`, stored",
        "redirects": "`303`, stored",
        "swallows": "`201`, not stored",
        "background": "`201`, stored",
        "background-fails": "`201`, not stored",
        "stream": "works",
        "socket": "works",
        "keeps": "works, and keeps a connection",
        "pool": "`500`",
    },
    "advanced_alchemy": {
        "commit-fails": "`201`, not stored",
        "raises": "`409`, not stored",
        "returns": "`409`, not stored",
        "redirects": "`303`, not stored",
        "swallows": "`201`, not stored",
        "background": "`201`, stored",
        "background-fails": "`201`, stored",
        "stream": "works",
        "socket": "`TypeError`",
        "keeps": "works, and keeps a connection",
    },
    "fastapi_sqla": {
        "commit-fails": "`500`, not stored",
        "raises": "`409`, not stored",
        "returns": "`409`, not stored",
        "redirects": "`303`, stored",
        "swallows": "`201`, not stored",
        "background": "`201`, stored",
        "background-fails": "`201`, stored",
        "stream": "works",
        "socket": "`TypeError`",
        "keeps": "works, and keeps a connection",
    },
    "fastapi_async_sqlalchemy": {
        "commit-fails": "`500`, not stored",
        "raises": "`409`, stored",
        "returns": "`409`, stored",
        "redirects": "`303`, stored",
        "swallows": "`201`, not stored",
        "background": "`201`, not stored",
        "background-fails": "`201`, stored",
        "stream": "works",
        "socket": "`MissingSessionError`",
        "keeps": "works, and keeps a connection",
    },
    "fastsqla": {
        "commit-fails": "`500`, not stored",
        "raises": "`409`, not stored",
        "returns": "`409`, stored",
        "redirects": "`303`, stored",
        "swallows": "`201`, not stored",
        "background": "`201`, not stored",
        "background-fails": "`201`, stored",
        "stream": "works, and keeps a connection",
        "socket": "works",
        "keeps": "works, and keeps a connection",
    },
}

FASTAPI_ASYNC_SQLALCHEMY_0_7 = {
    "stream": "`500`, no rows",
    "socket": "works, and keeps a connection",
}
"""Where the version before 0.8, which Python 3.11 gets, differs."""

PAGES = {
    f"{name.replace('_', '-')}.md": [
        f"| {title} | {before[key]} | {AFTER[key]} |"
        for key, title in SITUATIONS.items()
        if key in before
    ]
    for name, before in BEFORE.items()
}
"""The rows of each page's table."""
