"""What is never parted: images of equal content, twins and groups, joined as far as they reach."""

from collections.abc import Sequence

NAMED = 3  # groups that a joined one is called by


def units(
    hashes: Sequence[str], *, twins: Sequence[tuple[int, int]] = (), groups: Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """Return of each image the key of its unit, and the name of its group, "" where it has none.

    A unit is what equal hashes, twins (pairs of indices) and equal names of groups hold together; its key is the
    smallest hash in it, so that it does not depend on order or names. Groups that a twin joins have one name in common.
    """
    parent = list(range(len(hashes)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    pairs = list(twins)
    for index, text in enumerate(hashes):
        pairs.append((index, first.setdefault(("content", text), index)))
        if groups is not None and groups[index]:
            pairs.append((index, first.setdefault(("group", groups[index]), index)))
    for one, other in pairs:
        parent[root(one)] = root(other)
    keys: dict[int, str] = {}
    names: dict[int, set[str]] = {}
    for index, text in enumerate(hashes):
        place = root(index)
        keys[place] = min(text, keys.get(place, text))
        if groups is not None and groups[index]:
            names.setdefault(place, set()).add(groups[index])
    called = {place: _joined(sorted(found)) for place, found in names.items()}
    return [keys[root(index)] for index in range(len(hashes))], [
        called.get(root(index), "") for index in range(len(hashes))
    ]


def _joined(names: Sequence[str]) -> str:
    more = f" + {len(names) - NAMED} more" if len(names) > NAMED else ""
    return " + ".join(names[:NAMED]) + more
