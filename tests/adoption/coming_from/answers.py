"""The shapes that libraries give to objects and lists."""


def data(answer) -> dict:
    """Return the object, which fastapi-sqla and FastSQLA wrap."""
    body = answer.json()
    return body.get("data", body)


def items(answer) -> list[str]:
    """Return the titles of a list or of a page, whose shape the library has chosen."""
    body = answer.json()
    rows = body if isinstance(body, list) else body.get("items", body.get("data"))
    return [row["title"] for row in rows]
