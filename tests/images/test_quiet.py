import threading
import warnings

from blemish.images import read as images
from blemish.images.read import read_image


def test_threads_that_decode_at_the_same_time_leave_the_filters_of_warnings_as_they_were(brick, monkeypatch):
    """The filters are those of the whole process: the first that comes must not be the last that tidies up."""
    path = brick / "test" / "good" / "000.png"
    before, inside, first_is_done = list(warnings.filters), threading.Barrier(2, timeout=10), threading.Event()
    real, order = images.upright, []

    def together(*given, **options):
        order.append(threading.get_ident())
        inside.wait()
        if order[0] != threading.get_ident():
            assert first_is_done.wait(10)
        return real(*given, **options)

    def work():
        read_image(path)
        first_is_done.set()

    monkeypatch.setattr(images, "upright", together)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
