"""Faults of single files: which of them stop one file, and leave the others to be loaded."""


class FileFaultError(Exception):
    """One file can't be loaded now. The message goes on after the file's name: `is no whole gzip file ...`.

    It holds line numbers and counts, and no value of any row.
    """


class BrokenFileError(FileFaultError):
    """The user must act: correct or remove the file, or change how the source reads it."""


class UnsettledFileError(FileFaultError):
    """The file is gone, grows or has changed while it was read: the next run may find it whole."""


MOST_COLUMNS = 20_000
"""Of a table of a file. A small file can have very many more, with which no destination ends in a useful time."""


def check_width(columns: int) -> None:
    """Refuse a file whose table would have more columns than any has.

    Raises:
        BrokenFileError: it would.
    """
    if columns > MOST_COLUMNS:
        raise BrokenFileError(f"has more than {MOST_COLUMNS:,} columns, as no table has: correct or remove it")
