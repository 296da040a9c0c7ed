"""Which images are learnt and which are held out: drawn by their content, so that order and names do not matter."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.together.units import units
from blemish.errors import InputError, printable
from blemish.images.read import read_image

# Of MANY good images or more ENOUGH set the thresholds and train nothing, so that no single one of them decides, or
# SHARE where that is more; of fewer images a third.
MANY, ENOUGH, SHARE = 120, 40, 0.25
FEW = 20  # held-out images or groups; with fewer, those that train are scored too, by other students
LEAST_TRAIN, LEAST_HELD_OUT = 4, 2


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the sha256 of each file's bytes, in hexadecimal; raises InputError for a file that cannot be read."""
    return [_file_fingerprint(path) for path in paths]


def pixel_fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the array_fingerprint of each image in a file; raises InputError as read_image does."""
    return [array_fingerprint(read_image(path)) for path in paths]


def array_fingerprint(image: NDArray[np.uint8]) -> str:
    """Return the sha256 of an image's shape and pixels, in hexadecimal: what fingerprints is to files."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def hold_out(hashes: Sequence[str], *, share: float, least: int) -> list[int]:
    """Return the ascending indices of the images to hold out of training, chosen by content alone.

    hashes: one per image, equal where the content is equal; equal images are never parted. Of the n different ones the
    max(least, round(share n)) with the smallest sha256 of their salted hash are held out: order and names do not
    matter, and one more image changes at most one choice beside its own. share is in [0, 1).
    Raises InputError if nothing would be left to train on.
    """
    if not 0 <= share < 1:
        raise InputError(f"share held out: {share} not allowed (allowed: 0 <= share < 1)")
    return _drawn(hashes, count=max(least, round(share * len(set(hashes)))))


def held_out_count(different: int) -> int:
    """Return how many of so many different good images, or groups of them, set the thresholds and train nothing."""
    if different < MANY:
        return max(LEAST_HELD_OUT, round(different / 3))
    return max(ENOUGH, round(SHARE * different))


@dataclass(frozen=True, slots=True)
class Fold:
    """The indices of images that train which a set of students scores, of what groups, and of those that it learns.

    Beside them it learns those held out. Nothing that belongs together is on both sides.
    """

    scored: list[int]
    groups: list[str]
    learnt: list[int]


@dataclass(frozen=True, slots=True)
class Split:
    """The indices of the images that train, and of those held out; both in the order of their hashes.

    groups: of each held-out image the group that it counts in, "" for one that counts alone. units: how many images or
    groups were there to be drawn from; beside: how many of the images kept apart do not count, as they, a copy, a twin
    or one of their group trains. folds: where fewer than FEW are held out, the images that train once more, in two
    folds.
    """

    train: list[int]
    held_out: list[int]
    groups: list[str]
    units: int
    beside: int = 0
    folds: list[Fold] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many images or groups are held out."""
        return count_units(self.groups)


def count_units(groups: Sequence[str]) -> int:
    """Return how many images or groups a promise is made by, given the group of each image, "" for one alone."""
    return groups.count("") + len(set(groups) - {""})


def split_good(
    hashes: Sequence[str], *, apart: int, twins: Sequence[tuple[int, int]] = (), groups: Sequence[str] | None = None
) -> Split:
    """Return which images train, and which are held out to set the threshold.

    twins: pairs of images that are never parted, and count once. groups: the name of each image's group, which is never
    parted, "" for an image without; twins join their groups. The last `apart` images are those that the user holds out;
    if there are none, `held_out_count` of all images or groups are, drawn by content: a group by the smallest hash in
    it. So neither names nor the order that images are given in matter. What trains, or belongs to what trains, is no
    evidence among the held-out images; a copy or a twin there is no further one.
    Raises InputError where too few different images or groups are left.
    """
    keys, names = units(hashes, twins=twins, groups=groups)
    count = len(hashes) - apart
    _check_enough(keys[:count], hashes[:count], apart=bool(apart), grouped=groups is not None)
    if apart:
        trained = set(keys[:count])
        held = [index for index in range(count, len(hashes)) if keys[index] not in trained]
    else:
        held = _drawn(keys, count=held_out_count(len(set(keys))))
        trained = set(keys) - {keys[index] for index in held}
    train = [index for index in _in_order(range(count), hashes) if keys[index] in trained]
    if groups is not None and (left := len({hashes[index] for index in train})) < LEAST_TRAIN:
        raise InputError(
            f"groups: need >= {LEAST_TRAIN} different images to train beside groups held out, found {left}"
        )
    kept = _once(held, hashes, keys, names)
    folds = _folds(train, hashes, keys, names) if not apart else []
    beside = apart - len(held) if apart else 0
    split = Split(train, kept, [names[index] for index in kept], len(set(keys)), beside, folds)
    if split.count < LEAST_HELD_OUT:
        what = "images, unlike each other and those that train" if groups is None else "groups that do not train"
        raise InputError(f"need >= {LEAST_HELD_OUT} held-out {what}, found {split.count}")
    return split if split.count < FEW else replace(split, folds=[])


def _once(indices: Iterable[int], hashes: Sequence[str], keys: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return those of the images that count, in order: of equal ones, and of twins in no group, the first."""
    first: dict[str, int] = {}
    for index in _in_order(indices, hashes):
        first.setdefault(hashes[index] if names[index] else keys[index], index)
    return list(first.values())


def _folds(train: Sequence[int], hashes: Sequence[str], keys: Sequence[str], names: Sequence[str]) -> list[Fold]:
    """Return two folds of the images that train, none where one would have fewer than LEAST_HELD_OUT to score."""
    ranked = sorted({keys[index] for index in train}, key=lambda key: rank("fold", key))
    folds = []
    for part in (set(ranked[::2]), set(ranked[1::2])):
        scored = _once([index for index in train if keys[index] in part], hashes, keys, names)
        learnt = [index for index in train if keys[index] not in part]
        folds.append(Fold(scored, [names[index] for index in scored], learnt))
    return folds if len(ranked) >= 2 * LEAST_HELD_OUT else []


def _check_enough(keys: Sequence[str], hashes: Sequence[str], *, apart: bool, grouped: bool) -> None:
    """Raise InputError where the images that may train are too few to be parted; keys: of what is never parted."""
    beside, found = " beside those held out" if apart else "", len(set(keys))
    least = LEAST_TRAIN + (0 if apart else LEAST_HELD_OUT)
    different = len(set(hashes)) if grouped else found
    if different < least:
        raise InputError(f"need >= {least} different images of good parts{beside}, found {different}")
    if grouped and not apart and found <= LEAST_HELD_OUT:
        raise InputError(
            f"groups: need >= {LEAST_HELD_OUT + 1} groups of good images, as {LEAST_HELD_OUT} of them are held out and "
            f"the others train, found {found}"
        )


def _in_order(indices: Iterable[int], hashes: Sequence[str]) -> list[int]:
    return sorted(indices, key=lambda index: (hashes[index], index))


def _drawn(hashes: Sequence[str], *, count: int) -> list[int]:
    ranked = sorted(set(hashes), key=lambda text: hashlib.sha256(f"blemish hold-out {text}".encode()).digest())
    if len(ranked) <= count:
        raise InputError(f"need >= {count + 1} training images of different content, found {len(ranked)}")
    held = set(ranked[:count])
    return [index for index, text in enumerate(hashes) if text in held]


def draw_share(hashes: Sequence[str], *, share: float, salt: str) -> list[int]:
    """Return the ascending indices of a share of some images, one at least, drawn by their content and a salt."""
    ranked = sorted(range(len(hashes)), key=lambda index: rank(salt, hashes[index]))
    return sorted(ranked[: max(1, round(share * len(hashes)))])


def rank(salt: str, text: str) -> bytes:
    """Return what orders texts at random, the same way for the same salt."""
    return hashlib.sha256(f"blemish draw {salt} {text}".encode()).digest()


def _file_fingerprint(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
