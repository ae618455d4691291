"""Words of sentences for people: names in quotes, and counts with their noun."""

from collections.abc import Iterable


def quoted(names: Iterable[str]) -> str:
    """Names of the user's, as a sentence has them: nobody takes them for words of its own, or for the API's."""
    return ", ".join(f"'{name}'" for name in names)


def counted(count: int, word: str) -> str:
    """So many of something: `1 row`, `2,000 rows`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
