"""Shows how many threads are at the same place at the same time."""

import threading


class Meeting:
    """Each thread that comes waits until `size` of them are there; `most` is how many were there at once."""

    def __init__(self, size):
        self.together, self.lock = threading.Barrier(size, timeout=5), threading.Lock()
        self.now = self.most = 0

    def come(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.together.wait()
        with self.lock:
            self.now -= 1
