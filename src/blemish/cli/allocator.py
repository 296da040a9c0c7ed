"""How this process gets its memory from the system: a setting for commands, not for a library to make."""

import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 512 << 20  # bytes of freed memory at most that are kept for the next tensors
LARGE = 128 << 20  # what is larger is given back at once: whole data sets, not features


def keep_freed_memory() -> bool:
    """Tell the system's allocator to keep freed memory, where it is glibc's; returns whether it does.

    By default glibc gives every tensor of more than some megabytes back to the system and has it cleared anew for the
    next: a quarter of the time of a fit was spent on that (docs/log.md).
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, LARGE)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
