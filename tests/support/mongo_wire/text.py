"""A minimal ``$text`` over the fields of the index: words without stemming, phrases, exclusions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.mongo_wire.failures import CommandFailure

Document = dict[str, Any]
_TERM = re.compile(r'(-?)(?:"([^"]+)"|([^\s"]+))')
_WORD = re.compile(r"\w+")


def split(where: Mapping[str, Any]) -> tuple[str | None, Document]:
    """Return the text of a filter's ``$text``, also inside of ``$and``, and the filter without it."""
    text: str | None = None
    rest: Document = {}
    for name, value in where.items():
        if name == "$text":
            text = value["$search"]
        elif name == "$and":
            inner = [split(each) for each in value]
            text = next((found for found, _ in inner if found is not None), text)
            if kept := [each for _, each in inner if each]:
                rest["$and"] = kept
        else:
            rest[name] = value
    return text, rest


def scored(
    text: str, documents: Iterable[Document], indexes: Iterable[Document]
) -> list[tuple[float, Document]]:
    """Return the documents that match, with their scores.

    Raises:
        CommandFailure: the collection has no text index.
    """
    weights: Mapping[str, Any] = next(
        (each["weights"] for each in indexes if "weights" in each), {}
    )
    if not weights:
        raise CommandFailure(27, "IndexNotFound", "text index required for $text query")
    found = ((_score(text, document, weights), document) for document in documents)
    return [(score, document) for score, document in found if score > 0]


def _score(text: str, document: Document, weights: Mapping[str, Any]) -> float:
    texts = {name: str(document.get(name, "")).lower() for name in weights}
    words = {name: _WORD.findall(value) for name, value in texts.items()}
    score = 0.0
    for minus, phrase, term in _TERM.findall(text.lower()):
        if phrase:
            hit = any(phrase in value for value in texts.values())
            hits = 1.0 if hit else 0.0
        else:
            hits = sum(words[name].count(term) * weight for name, weight in weights.items())
        if (minus and hits) or (phrase and not minus and not hits):
            return 0.0
        score += hits if not minus else 0.0
    return score
