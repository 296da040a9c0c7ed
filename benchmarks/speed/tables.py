"""Medians, spreads and ratios of turns, in Markdown."""

from collections.abc import Mapping, Sequence
from statistics import median

from turns import Turn

Rounds = dict[str, list[Turn]]  # name -> its turns, in the order of the rounds


def by_name(turns: Sequence[Turn], names: Sequence[str]) -> Rounds:
    """Return the turns of each contender, by round; contenders in the order of the names."""
    ordered = sorted(turns, key=lambda turn: turn.round)
    return {name: [turn for turn in ordered if turn.name == name] for name in names}


def per_image(turn: Turn) -> float:
    """Return the milliseconds of one image: the mean over the images of a turn, which differ in size."""
    return 1000 * sum(turn.seconds) / turn.images


def times(found: Rounds, first_seconds: Mapping[str, float]) -> list[str]:
    """Return the table of times, memory and what else kept the machine busy."""
    lines = ["| contender | ms / image, median | min to max | processor ms | first score, s | peak MB | others busy |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, turns in found.items():
        values = [per_image(turn) for turn in turns]
        processor = median(1000 * turn.cpu_seconds / turn.images for turn in turns)
        lines.append(
            f"| {name} | {median(values):.2f} | {min(values):.2f} to {max(values):.2f} | {processor:.2f} "
            f"| {first_seconds[name]:.2f} | {_peak(turns):.0f} "
            f"| {median(turn.others for turn in turns):.2f} |"
        )
    return lines


def ratios(found: Rounds, baselines: Sequence[str]) -> list[str]:
    """Return the table of how many times faster than a baseline each contender is, by round, and its share of memory.

    Ratios are of the same round: their median, and the least and the largest.
    """
    lines = ["| contender | " + " | ".join(f"times faster than {name}, its memory" for name in baselines) + " |"]
    lines.append("|---|" + "---|" * len(baselines))
    for name, turns in found.items():
        cells = []
        for baseline in baselines:
            values = [per_image(other) / per_image(turn) for turn, other in zip(turns, found[baseline], strict=True)]
            memory = _peak(turns) / _peak(found[baseline])
            cells.append(f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f}), {memory:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def best_of(found: Rounds, prefix: str) -> str:
    """Return the fastest contender whose name begins so, by its median; there must be one."""
    names = [name for name in found if name.startswith(prefix)]
    return min(names, key=lambda name: median(map(per_image, found[name])))


def same_scores(found: Rounds) -> list[str]:
    """Return how far image scores are from those of the first contender of the same prefix, such as `all:` of all:x."""
    first: dict[str, tuple[str, list[float]]] = {}
    lines = []
    for name, turns in found.items():
        reference, scores = first.setdefault(name.split(":")[0], (name, turns[0].scores))
        if reference != name and scores:
            gap = max(abs(one - other) for one, other in zip(turns[0].scores, scores, strict=True))
            lines.append(f"image scores of {name}: at most {gap:.2g} from {reference}, {max(map(abs, scores)):.3g}")
    return lines


def shares(found: Rounds, *, gflop: float, peak: float) -> list[str]:
    """Return the table of throughput, and of the share of the machine's compute limit that it is.

    gflop: floating point operations of an image, in 10^9; peak: what the machine can do, in 10^9 a second.
    """
    lines = ["| contender | images / s, median | min to max | GFLOP / s | share of the limit |"]
    lines.append("|---|---|---|---|---|")
    for name, turns in found.items():
        values = [1000 / per_image(turn) for turn in turns]
        speed = gflop * median(values)
        lines.append(
            f"| {name} | {median(values):.1f} | {min(values):.1f} to {max(values):.1f} | {speed:.0f} "
            f"| {100 * speed / peak:.0f} % |"
        )
    return lines


def _peak(turns: Sequence[Turn]) -> float:
    return max(turn.peak_mb for turn in turns)
