"""Memory that is free, given back to the system: that of Arrow's pool, and that between what the C library still holds.

Rows come and go in pieces of all sizes, so the heap keeps what it had at its fullest. A run that has made rows of one
kind gives it back before it does something else, for both would count together.
"""

import ctypes
import gc

import pyarrow as pa

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; other C libraries have none, and keep less."""

_set = getattr(ctypes.CDLL(None), "mallopt", None)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 128 * 1024


def keep_little() -> None:
    """Let Arrow take its memory from the C library from now on: what is free there can be given back.

    And let that keep one heap for all threads and large pieces outside of it: it learns from the largest that was ever
    freed what is to stay in its heaps, of which it makes one a thread.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if _trim is not None and _set is not None:
        for name, value in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE), (_ARENA_MAX, 1)):
            _set(name, value)


def give_back(*, cycles: bool = False) -> None:
    """Give back what nothing uses. It costs milliseconds, so not for each row; `cycles` cost the time of all objects.

    That is a fifth of a second where a run has its process to itself, and more than a small load: for large ones only.
    """
    if cycles:
        gc.collect()
    pa.default_memory_pool().release_unused()
    if _trim is not None:
        _trim(0)
