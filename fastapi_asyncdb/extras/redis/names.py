"""The keys of the server that belong to the keys and tags of a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

Key = tuple[str, str, str]
"""The keys of a value, of its lease and of its marker."""
Tag = tuple[str, str]
"""The keys of the version of a tag, and of its marker."""


@dataclass(frozen=True, slots=True)
class Names:
    """One key of the cache and its tags, or those that a transaction writes."""

    keys: frozenset[Key] = frozenset()
    tags: frozenset[Tag] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.keys or self.tags)

    def __len__(self) -> int:
        return len(self.keys) + len(self.tags)

    def __or__(self, other: Self) -> Names:
        return Names(self.keys | other.keys, self.tags | other.tags)

    def __sub__(self, other: Self) -> Names:
        return Names(self.keys - other.keys, self.tags - other.tags)

    def __and__(self, other: Self) -> Names:
        return Names(self.keys & other.keys, self.tags & other.tags)

    def batches(self, size: int) -> Iterator[Names]:
        """Divide them into parts of a size."""
        keys, tags = list(self.keys), list(self.tags)
        for start in range(0, len(keys), size):
            yield Names(keys=frozenset(keys[start : start + size]))
        for start in range(0, len(tags), size):
            yield Names(tags=frozenset(tags[start : start + size]))

    def touches(self, other: Names) -> bool:
        """Return whether they have a key or a tag in common."""
        return not (self.keys.isdisjoint(other.keys) and self.tags.isdisjoint(other.tags))

    def flat(self) -> list[str]:
        """Return the keys of the server: those of each key, then those of each tag."""
        return [name for group in (*self.keys, *sorted(self.tags)) for name in group]


class Naming:
    """Make names.

    Args:
        prefix: What they begin with.
        longest: A longer key or tag is replaced by its hash: clients choose the length of some.
    """

    def __init__(self, prefix: str, longest: int) -> None:
        self._prefix = prefix
        self._longest = longest

    def value(self, key: str) -> str:
        """Return the key of the server for a value."""
        return f"{self._prefix}:v:{self._short(key)}"

    def version(self, tag: str) -> str:
        """Return the key of the server for the version of a tag."""
        return f"{self._prefix}:t:{self._short(tag)}"

    def of(self, keys: Iterable[str], tags: Iterable[str]) -> Names:
        """Return the names of keys and tags."""
        prefix = self._prefix
        return Names(
            frozenset(
                (f"{prefix}:v:{key}", f"{prefix}:l:{key}", f"{prefix}:m:v:{key}")
                for key in map(self._short, keys)
            ),
            frozenset(
                (f"{prefix}:t:{tag}", f"{prefix}:m:t:{tag}") for tag in map(self._short, tags)
            ),
        )

    def _short(self, name: str) -> str:
        if len(name) <= self._longest:
            return name
        return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=24).hexdigest()
