"""Faults of single files: which of them stop one file, and leave the others to be loaded."""


class FileFaultError(Exception):
    """One file can't be loaded now. The message goes on after the file's name: `is no whole gzip file ...`.

    It holds line numbers and counts, and no value of any row.
    """


class BrokenFileError(FileFaultError):
    """The user must act: correct or remove the file, or change how the source reads it."""


class UnsettledFileError(FileFaultError):
    """The file is gone, grows or has changed while it was read: the next run may find it whole."""
