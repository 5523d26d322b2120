"""What changes for the template: the table of docs/coming-from/full-stack-template.md."""

SITUATIONS = {
    "forgets": "a handler writes and does not call `commit()`",
    "raises": "`crud` has written, and then the handler raises `HTTPException(409)`",
    "commits": "a handler still calls `commit()`",
    "taken": "a unique name is taken",
}

BEFORE = {
    "forgets": "`201`, not stored",
    "raises": "`409`, stored",
    "commits": "`201`, stored",
    "taken": "`500`",
}

AFTER = {
    "forgets": "`201`, stored",
    "raises": "`409`, not stored",
    "commits": "`201`, stored",
    "taken": "`409`",
}

PAGES = {
    "full-stack-template.md": [
        f"| {title} | {BEFORE[key]} | {AFTER[key]} |" for key, title in SITUATIONS.items()
    ]
}
"""The rows of the page's table."""
