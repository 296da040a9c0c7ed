"""Which share of the machine's limit was reached, what took the rest, and the tables that say so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from counting import DENSE, DEPTHWISE, Operation, Part, by_kind
from peaks import Peaks
from rich import box
from rich.console import Console
from rich.table import Table
from working import FIT_IMAGES, Timed, Trained

WIDTH = {"float32": 4, "bfloat16": 2, "int8": 1}  # bytes of a value
WORTH_SAYING = 0.05  # share of the time


@dataclass(slots=True)
class Setting:
    """All that was measured with so many threads."""

    peaks: Peaks
    parts: list[Part] = field(default_factory=list)
    part_seconds: dict[str, float] = field(default_factory=dict)
    predictions: list[Timed] = field(default_factory=list)
    trainings: list[Trained] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Share:
    """A measured time against the least that it could take: seconds, the longer of those of FLOPs and of bytes."""

    seconds: float
    compute: float
    memory: float

    @property
    def limit(self) -> float:
        return max(self.compute, self.memory)

    @property
    def reached(self) -> float:
        return self.limit / self.seconds

    @property
    def reached_of_compute(self) -> float:
        return self.compute / self.seconds


def part_share(part: Part, seconds: float, peaks: Peaks) -> Share:
    """Return the share that a part in float32 reached."""
    compute = part.flops / peaks.matrix["float32"].per_second
    return Share(seconds, compute, part.least_bytes / peaks.bandwidth_of(part.least_bytes))


def prediction_share(timed: Timed, peaks: Peaks) -> Share:
    """Return the share that one image reached, by the peak of its precision; every part is held against its own limit.

    Of images given together each bears its share of reading the weights.
    """
    peak, width = peaks.matrix[timed.precision].per_second, WIDTH[timed.precision] / WIDTH["float32"]
    compute, limit = 0.0, 0.0
    for flops, weights, ends in timed.demands:
        moved = width * (ends + weights / timed.images)
        compute += flops / peak
        limit += max(flops / peak, moved / peaks.bandwidth_of(int(moved)))
    return Share(timed.seconds, compute, limit)


def rest_of_part(operations: Sequence[Operation], peaks: Peaks) -> str:
    """Return one line: which operations take the time, and at which rate; of those that take more than a twentieth."""
    total = sum(one.seconds for one in operations)
    return "; ".join(
        _of_kind(one, total, peaks) for one in by_kind(operations).values() if one.seconds > WORTH_SAYING * total
    )


def _of_kind(one: Operation, total: float, peaks: Peaks) -> str:
    text = f"{one.kind} {one.seconds / total:.0%} of the time"
    if one.kind == DENSE:
        return f"{text} at {one.flops / one.seconds / peaks.matrix['float32'].per_second:.0%} of the peak"
    if one.kind == DEPTHWISE:
        peak = one.flops / one.seconds / peaks.matrix["float32"].per_second
        return f"{text} at {peak:.0%} of the peak, {one.bytes / one.seconds / 1e9:.0f} GB/s"
    return f"{text} at {one.bytes / one.seconds / 1e9:.0f} GB/s"


def rest_of_prediction(timed: Timed, single: float) -> str:
    """Return one line: where the time of a prediction goes, as far as it shows; single: seconds of one at a time."""
    resized = timed.resize / timed.seconds / timed.streams
    if timed.network is None:
        return f"{single / timed.seconds:.2f} times as fast as one at a time; resizing takes {resized:.0%} of the time"
    network = timed.network / timed.seconds
    rest = f"stretching the map, regions and all else {max(0.0, 1 - resized - network):.0%}"
    total = sum(timed.graph.values())
    kinds = [f"{kind} {one / total:.0%}" for kind, one in sorted(timed.graph.items(), key=lambda item: -item[1])
             if one > WORTH_SAYING * total]  # fmt: skip
    graph = f" (of the graph: {', '.join(kinds)})" if kinds else ""
    return f"resizing takes {resized:.0%} of the time, teacher and modules {network:.0%}{graph}, {rest}"


def rest_of_training(trained: Trained, peaks: Peaks) -> str:
    """Return one line: which operations take the time of a step, and how much is outside of them."""
    inside = sum(one.seconds for one in trained.kinds)
    return (
        f"{rest_of_part(trained.kinds, peaks)}; outside of operations {max(0.0, 1 - inside / trained.step_seconds):.0%}"
    )


def speed_up(before: float, now: float, alone: Setting, setting: Setting) -> str:
    """Return how much faster the threads are than one, as the end of a line; nothing where one was not measured."""
    if alone.peaks.threads > 1 or alone is setting:
        return ""
    return f"; {setting.peaks.threads} threads are {before / now:.2f} times as fast as one"


def print_counts(parts: Sequence[Part], *, markdown: bool) -> None:
    """Print what every part computes and moves."""
    columns = [
        "part",
        "MFLOP",
        "of it depthwise",
        "weights, MB",
        "least moved, MB",
        "most moved, MB",
        "FLOP per least byte",
    ]
    rows = [_count_row(part.name, [part], part.least_bytes) for part in parts]
    rows.append(_count_row("all", parts, sum(part.least_bytes for part in parts)))
    print_table("What one image asks for (T: teacher stage; SIZE/LEVEL: module)", columns, rows, markdown=markdown)


def _count_row(name: str, parts: Iterable[Part], least: int) -> list[str]:
    parts = list(parts)
    flops = sum(part.flops for part in parts)
    moved = [sum(getattr(part, key) for part in parts) for key in ("weights", "least_bytes", "most_bytes")]
    depthwise = sum(part.depthwise for part in parts) / flops
    return [
        name,
        f"{flops / 1e6:.1f}",
        f"{depthwise:.0%}",
        *(f"{one / 1e6:.2f}" for one in moved),
        f"{flops / least:.0f}",
    ]


def print_peaks(peaks: Peaks, *, markdown: bool) -> None:
    """Print what the machine can do at most."""
    rows = [[name, f"{peak.per_second / 1e9:.0f} GFLOP/s", peak.how] for name, peak in peaks.matrix.items()]
    rows += [
        [f"memory, {_size(size)}", f"{rate / 1e9:.0f} GB/s", "y = y + 3 x"] for size, rate in peaks.bandwidth.items()
    ]
    print_table(f"Peaks, {_threads(peaks)} (int8: operations)", ["what", "at most", "by"], rows, markdown=markdown)


def print_parts(setting: Setting, alone: Setting, *, markdown: bool) -> None:
    """Print which share of the limit every part reaches in torch, and what the rest is where it is under a half."""
    rows, lines = [], []
    for part in setting.parts:
        seconds = setting.part_seconds[part.name]
        share = part_share(part, seconds, setting.peaks)
        unfused = part.most_bytes / setting.peaks.bandwidth_of(max(one.bytes for one in part.operations))
        rows.append([part.name, *_row(share), f"{1e3 * unfused:.2f}"])
        if share.reached < 0.5:
            rest = rest_of_part(part.operations, setting.peaks)
            lines.append(f"{part.name}: {rest}{speed_up(alone.part_seconds[part.name], seconds, alone, setting)}")
    if any(part_share(part, setting.part_seconds[part.name], setting.peaks).reached > 1 for part in setting.parts):
        lines.insert(
            0, "No part can be faster than the limit: the peaks were measured on a busy machine; run it again."
        )
    columns = ["part", *COLUMNS, "ms to move the most bytes"]
    print_table(f"Parts in torch, float32, {_threads(setting.peaks)}", columns, rows, lines, markdown=markdown)


def print_predictions(setting: Setting, alone: Setting, *, markdown: bool) -> None:
    """Print which share of the limit whole predictions reach, decode left out."""
    rows, lines = [], []
    single = 0.0
    for timed, before in zip(setting.predictions, alone.predictions, strict=True):
        share = prediction_share(timed, setting.peaks)
        single = timed.seconds if timed.images == 1 else single
        name = f"{timed.name}, {timed.precision}, {timed.images} at a time"
        rows.append([name, *_row(share)])
        if share.reached_of_compute < 0.5:
            faster = speed_up(before.seconds, timed.seconds, alone, setting)
            lines.append(f"{name}: {rest_of_prediction(timed, single)}{faster}")
    title = f"Prediction from an array, per image, {_threads(setting.peaks)}"
    print_table(title, ["prediction", *COLUMNS], rows, lines, markdown=markdown)


def print_trainings(setting: Setting, alone: Setting, *, markdown: bool) -> None:
    """Print which share of the compute limit training reaches."""
    if not setting.trainings:
        return
    rows, lines = [], []
    peak = setting.peaks.matrix["float32"].per_second
    for trained, before in zip(setting.trainings, alone.trainings, strict=True):
        step, cached, fit = (
            getattr(trained, f"{what}_flops") / peak / getattr(trained, f"{what}_seconds")
            for what in ("step", "pass", "fit")
        )
        row = [f"{trained.batch}", f"{trained.step_flops / 1e9:.2f}", f"{1e3 * trained.step_seconds:.1f}"]
        row += [f"{step:.0%}", f"{cached:.0%}", f"{trained.fit_flops / 1e12:.2f}", f"{trained.fit_seconds:.1f}"]
        rows.append([trained.module, *row, f"{fit:.0%}"])
        if step < 0.5:
            rest = rest_of_training(trained, setting.peaks)
            lines.append(
                f"{trained.module}: {rest}{speed_up(before.step_seconds, trained.step_seconds, alone, setting)}"
            )
    columns = ["module", "batch", "GFLOP a step", "ms a step", "share of compute", "of the teacher's pass",
               "TFLOP a fit", "s a fit", "share of compute"]  # fmt: skip
    title = f"Training, recipe fast, {FIT_IMAGES} images (from a short run), {_threads(setting.peaks)}"
    print_table(title, columns, rows, lines, markdown=markdown)


COLUMNS = ["ms", "ms to compute", "ms at the limit", "share of the limit", "share of compute"]


def _row(share: Share) -> list[str]:
    times = [f"{1e3 * one:.2f}" for one in (share.seconds, share.compute, share.limit)]
    return [*times, f"{share.reached:.0%}", f"{share.reached_of_compute:.0%}"]


def _threads(peaks: Peaks) -> str:
    return "1 thread" if peaks.threads == 1 else f"{peaks.threads} threads"


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], lines: Iterable[str] = (), *, markdown: bool
) -> None:
    """Print a table, and under it lines of what it does not say."""
    table = Table(box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=240, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
    print(f"\n### {title}\n" if markdown else f"\n{title}")
    print("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip()), end="\n\n")
    for line in lines:
        print(f"- {line}" if markdown else line, flush=True)
