"""Work ahead of who needs it: threads compute the next results while the last one is being used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int = 1
) -> Generator[Result, None, None]:
    """Yield function(item) for each item, in order, computed in `workers` threads ahead of who asks for it.

    Items are taken in the caller's thread, one when it is wanted: no more than 2 x workers are taken and not yet
    yielded, so memory does not grow with their number. What the function raises for an item is raised in its place;
    what taking an item raises, at once. After either, and when the iterator is closed, waiting items are dropped, and
    the threads have ended: `with contextlib.closing(ahead(...))` makes sure of it.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="blemish-ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) == 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
