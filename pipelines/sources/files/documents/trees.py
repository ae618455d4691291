"""XML as a stream: elements one after the other, each forgotten when it has been read.

Nothing outside of the file is fetched, and a file that declares entities of its own, by which a short one becomes a
huge one, is refused.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

from pipelines.sources.files.decoding import unpacked
from pipelines.sources.files.faults import BrokenFileError

MOST_BYTES = 64 * 1024 * 1024
MOST_TAGS = 2_000_000
"""What one element that is held as a whole may have: a subject of a trial has some megabytes, and a tag takes 150."""


class Watched:
    """A stream that is read as long as what is held of it does not grow beyond a limit."""

    def __init__(self, raw: Any, sign: bytes) -> None:
        """`sign` is counted: what each of the things begins with that take memory."""
        self._raw, self._sign = raw, sign
        self._bytes = self._signs = 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            BrokenFileError: nothing of too many of them was let go of.
        """
        block: bytes = self._raw.read(size)
        self._bytes += len(block)
        self._signs += block.count(self._sign)
        if self._bytes > MOST_BYTES or self._signs > MOST_TAGS:
            raise BrokenFileError("has one part that is larger than those of any file: correct or remove it")
        return block

    def let_go(self) -> None:
        """What was read so far is held no more."""
        self._bytes = self._signs = 0


def elements(
    reopen: Callable[[], Any], names: tuple[str, ...], is_part: Callable[[Any], bool] = lambda _: False
) -> Iterator[Any]:
    """The elements of these names (without their namespace) as they end; each is emptied when the next is asked for.

    `is_part`: of an element that belongs to one which is yet to end: it is left as it is, and comes with that one.

    Raises:
        BrokenFileError: the file is no whole XML.
    """
    tags = tuple(f"{{*}}{name}" for name in names)
    watched = Watched(unpacked(reopen(), is_xml=True), b"<")
    walk = etree.iterparse(watched, events=("end",), tag=tags, no_network=True, load_dtd=False)
    refused = None
    try:
        for _, element in walk:
            if element.getroottree().docinfo.internalDTD is not None:
                refused = "declares a document type of its own, which is not read: remove the DOCTYPE"
                break
            if is_part(element):
                continue
            yield element
            # With all that stands before it: an emptied element is still an element.
            element.clear(keep_tail=False)
            parent = element.getparent()
            while parent is not None and element.getprevious() is not None:
                del parent[0]
            watched.let_go()
    except etree.XMLSyntaxError as error:
        # Not raised from here: the parser's words may hold a part of the file.
        refused = f"is no whole XML in line {error.lineno}: correct it or bring it again"
    if refused is not None:
        raise BrokenFileError(refused)


def local_name(element: Any) -> str:
    """An element's or attribute's name without its namespace."""
    return str(etree.QName(element).localname)
