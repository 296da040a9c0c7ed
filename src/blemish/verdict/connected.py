"""8-connected parts of a map; numpy alone, as prediction needs no more.

The pixels are cut into runs, the unbroken stretches of each row, and runs that touch are joined into parts. There are
far fewer runs than pixels, and every step is over arrays of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Parts:
    """The 8-connected parts of flags (H, W), numbered from 0 in the order of their first pixels.

    For each run its row, where it starts, its length and the number of its part; count: of the parts.
    """

    shape: tuple[int, int]
    rows: Indices
    starts: Indices
    lengths: Indices
    numbers: Indices
    count: int

    def labels(self) -> NDArray[np.int32]:
        """Return the number of the part of each pixel: (H, W), -1 where there is none."""
        height, width = self.shape
        found = np.full(height * width, -1, dtype=np.int32)
        ends = np.cumsum(self.lengths)
        first = self.rows * width + self.starts - (ends - self.lengths)
        found[np.arange(ends[-1] if ends.size else 0) + np.repeat(first, self.lengths)] = self.of_pixels()
        return found.reshape(self.shape)

    def of_pixels(self) -> Indices:
        """Return the number of the part of each flagged pixel, in the order in which `array[flags]` has them."""
        return np.repeat(self.numbers, self.lengths)

    def areas(self) -> Indices:
        """Return the pixels of each part: (count,)."""
        return np.bincount(self.numbers, self.lengths, minlength=self.count).astype(np.intp)

    def highest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the highest of the values of each part: (count,). values: `array[flags]`."""
        found = np.full(self.count, -np.inf, dtype=values.dtype)
        if self.count:
            tops = np.maximum.reduceat(values, np.cumsum(self.lengths) - self.lengths)
            np.maximum.at(found, self.numbers, tops)
        return found

    def boxes(self) -> Indices:
        """Return x, y, width and height of each part: (count, 4), in px from the upper left corner."""
        left, upper = (np.full(self.count, max(self.shape)) for _ in range(2))
        right, lower = (np.zeros(self.count, dtype=np.intp) for _ in range(2))
        np.minimum.at(left, self.numbers, self.starts)
        np.minimum.at(upper, self.numbers, self.rows)
        np.maximum.at(right, self.numbers, self.starts + self.lengths)
        np.maximum.at(lower, self.numbers, self.rows + 1)
        return np.stack([left, upper, right - left, lower - upper], axis=1)


def parts(flags: Flags) -> Parts:
    """Return the 8-connected parts of flags, bool (H, W)."""
    starts, stops = _runs(flags)
    width = flags.shape[1] + 1
    _, numbers = np.unique(_roots(starts, stops, width), return_inverse=True)
    rows, columns = np.divmod(starts, width)
    count = int(numbers.max()) + 1 if numbers.size else 0
    return Parts((flags.shape[0], flags.shape[1]), rows, columns, stops - starts, numbers, count)


def _runs(flags: Flags) -> tuple[Indices, Indices]:
    """Return where runs start and where they have ended, in order, as indices into rows of W + 1 px.

    The column that is added ends the runs of a row before those of the next, and keeps the two from touching.
    """
    height, width = flags.shape
    padded = np.zeros(1 + height * (width + 1), dtype=np.bool_)
    padded[1:].reshape(height, width + 1)[:, :-1] = flags
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    return changes[0::2], changes[1::2]


def _roots(starts: Indices, stops: Indices, width: int) -> Indices:
    """Return for each run the first run of its region."""
    # Of the row below, a run is touched by those from the first that does not end before it to the last that does not
    # start behind it; a run that starts where the other has ended touches it by a corner.
    first = np.searchsorted(stops - width, starts, side="left")
    touching = np.searchsorted(starts - width, stops, side="right") - first
    upper = np.repeat(np.arange(starts.size), touching)
    lower = np.arange(upper.size) + np.repeat(first - (np.cumsum(touching) - touching), touching)
    # Every run points to one of its region that is not behind it. The run where pointers end, the root, is made to
    # point to the first of the roots that it touches. Two such rounds halve the roots that a region has left, or more,
    # and following pointers doubles its step each time: what takes long is the number of runs, not their shape.
    roots = np.arange(starts.size)
    while True:
        one, other = roots[upper], roots[lower]
        apart = one != other
        if not apart.any():
            return roots
        upper, lower, one, other = upper[apart], lower[apart], one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(further := roots[roots], roots):
            roots = further
