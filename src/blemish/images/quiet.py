"""Keep the warnings of a decoder from the user, in any number of threads."""

import threading
import warnings


class Quiet:
    """Ignores warnings while any thread is in it.

    Filters are of the whole process: of two threads that each change and restore them, one restores the other's.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.filters = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)


QUIET = Quiet()
