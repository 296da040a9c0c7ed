"""What the system says of a folder: the paths below it where something has changed, as it comes."""

from collections.abc import Collection, Generator
from pathlib import Path

TICK = 100  # ms that are waited for news
GROUP = 200  # ms of news that are told together

Events = Generator[Collection[str], None, None]


def events(folder: Path) -> Events:
    """Yield what has changed in a folder and below it every TICK ms, often nothing.

    Raises what watchfiles does where the system gives no events: OSError and RuntimeError.
    """
    from watchfiles import watch

    changes = watch(
        folder, watch_filter=None, debounce=GROUP, step=20, rust_timeout=TICK, yield_on_timeout=True,
        raise_interrupt=False, force_polling=False, ignore_permission_denied=True,
    )  # fmt: skip
    try:
        for found in changes:
            yield [path for _, path in found]
    finally:
        changes.close()
