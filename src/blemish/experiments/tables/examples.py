"""The images of Figure 3: of each chosen category one defect of each type, with its map, from kept maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blemish.errors import InputError, printable
from blemish.experiments.grid.contents import Contents
from blemish.experiments.grid.rows import Row, Score, read_rows
from blemish.experiments.runs.measure import prepare
from blemish.experiments.runs.run import read_all
from blemish.experiments.store.store import maps_name, read_maps
from blemish.experiments.tables.pictures import Example
from blemish.images.read import read_image
from blemish.images.resize import resize
from blemish.method.imitation import combine
from blemish.verdict.scale import squash


def examples(data: Sequence[Path], out: Path, *, only: Sequence[str], score: Score = "paper") -> list[Example]:
    """Return an example of each defect type of each category: the image whose mask is the median of them in area.

    The maps are those of the first row with that score, without labels, of all sizes and the whole test set. "paper":
    the distance itself; "whitened": squashed, so that the highest pixel of the good test images is at 0.5. Raises
    InputError for a category without such a row, and as `read_contents` does.
    """
    rows = [row for row in read_rows(out / "rows.jsonl") if row.score == score and _plain(row)]
    return [one for contents in read_all(data, only=only) for one in _of_category(contents, rows, out)]


def _of_category(contents: Contents, rows: Sequence[Row], out: Path) -> list[Example]:
    kept = maps_name(contents.hashes)  # maps lie in the order of the images, of which data_sha256 knows nothing
    fits = [row for row in rows if row.data_sha256 == contents.sha256 and str(row.store).endswith(f"/{kept}")]
    if not fits:
        name = printable(contents.category)
        raise InputError(f"{name}: no row without labels of all sizes, run benchmark --experiments sizes first")
    row, masks = fits[0], prepare(contents).masks
    store = out / str(row.store)
    maps = [read_maps(store, row.score, name) for name in row.weights]
    scored = combine(maps, list(row.weights.values()), size=masks[0].shape[0]).numpy()
    if row.score == "whitened":
        good = scored[[sample.label == "good" for sample in contents.samples]]
        scored = squash(scored, good=float(np.median(scored)), limit=float((good if len(good) else scored).max()))
    found = []
    for label in sorted({sample.label for sample in contents.samples} - {"good"}):
        there = [index for index, sample in enumerate(contents.samples) if sample.label == label]
        there.sort(key=lambda index: (int(masks[index].sum()), contents.hashes[index]))
        index = there[len(there) // 2]
        image = resize(read_image(contents.samples[index].path), len(masks[index]))
        found.append(Example(f"{contents.category}, {label}", image, masks[index], np.clip(scored[index], 0, 1)))
    return found


def _plain(row: Row) -> bool:
    whole = row.sizes == row.trained_sizes and row.coverage is None
    return row.status == "ok" and row.method == "imitation" and whole and row.weighting in ("mean", "label-free")
