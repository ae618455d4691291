"""XML as a stream: elements one after the other, each forgotten when it has been read.

Nothing outside of the file is fetched, and a file that declares entities of its own, by which a short one becomes a
huge one, is refused.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

from pipelines.sources.files.decoding import unpacked
from pipelines.sources.files.faults import BrokenFileError


def elements(
    reopen: Callable[[], Any], names: tuple[str, ...], is_part: Callable[[Any], bool] = lambda _: False
) -> Iterator[Any]:
    """The elements of these names (without their namespace) as they end; each is emptied when the next is asked for.

    `is_part`: of an element that belongs to one which is yet to end: it is left as it is, and comes with that one.

    Raises:
        BrokenFileError: the file is no whole XML.
    """
    tags = tuple(f"{{*}}{name}" for name in names)
    walk = etree.iterparse(unpacked(reopen(), is_xml=True), events=("end",), tag=tags, no_network=True, load_dtd=False)
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
    except etree.XMLSyntaxError as error:
        # Not raised from here: the parser's words may hold a part of the file.
        refused = f"is no whole XML in line {error.lineno}: correct it or bring it again"
    if refused is not None:
        raise BrokenFileError(refused)


def local_name(element: Any) -> str:
    """An element's or attribute's name without its namespace."""
    return str(etree.QName(element).localname)
