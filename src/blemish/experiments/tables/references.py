"""The figures that the paper prints, as plain data: C. Hu, S. Lai, arXiv 2212.05786, Tables I to V.

Pixel AUROC unless said otherwise, on MVTec AD. Rows of other methods are as quoted in that paper, not measured here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SOURCE = "arXiv 2212.05786"
DATA = "MVTec AD, 15 categories"
QUOTED = "as quoted in the paper"
TEACHERS = {"resnet18": "ResNet-18", "resnet50": "ResNet-50", "wide_resnet50_2": "WideResNet-50"}

Sizes = tuple[int, ...]
Levels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A row of Table I; a figure that is not given there is None."""

    method: str
    source: str
    pixel_auroc: float | None
    aupro: float | None


TABLE_1 = (
    Published("GAVGA", QUOTED, 0.93, None),
    Published("PatchSVDD", QUOTED, 0.957, None),
    Published("STAD", QUOTED, None, 0.857),
    Published("PaDiM", QUOTED, 0.975, 0.921),
    Published("SPADE", QUOTED, 0.965, 0.917),
    Published("feature imitation, WideResNet-50, pyramid", "the paper's own", 0.983, 0.927),
)
OWN = TABLE_1[-1]

# One size, 256.
TABLE_2: Mapping[tuple[str, Levels], float] = {
    ("resnet18", (2, 3, 4)): 0.971,
    ("resnet50", (2, 3, 4)): 0.977,
    ("wide_resnet50_2", (2, 3, 4)): 0.979,
    ("resnet18", (2, 3, 4, 5)): 0.971,
    ("resnet50", (2, 3, 4, 5)): 0.975,
    ("wide_resnet50_2", (2, 3, 4, 5)): 0.975,
}

# ResNet-50; the categories' columns are TABLE_3_SIZES.
TABLE_3_SIZES: tuple[Sizes, ...] = ((128,), (256,), (384,), (128, 256, 384))
TABLE_3: Mapping[str, tuple[float, ...]] = {
    "carpet": (0.983, 0.989, 0.990, 0.991),
    "grid": (0.948, 0.986, 0.991, 0.989),
    "leather": (0.993, 0.994, 0.992, 0.994),
    "tile": (0.957, 0.966, 0.970, 0.970),
    "wood": (0.943, 0.953, 0.957, 0.956),
    "bottle": (0.980, 0.987, 0.987, 0.986),
    "cable": (0.975, 0.969, 0.954, 0.975),
    "capsule": (0.972, 0.987, 0.988, 0.989),
    "hazelnut": (0.989, 0.991, 0.991, 0.992),
    "metal_nut": (0.975, 0.982, 0.979, 0.982),
    "pill": (0.969, 0.976, 0.974, 0.977),
    "screw": (0.973, 0.988, 0.990, 0.971),
    "toothbrush": (0.982, 0.988, 0.991, 0.989),
    "transistor": (0.978, 0.948, 0.874, 0.968),
    "zipper": (0.958, 0.984, 0.989, 0.985),
}
# As printed. The categories' own pyramid figures have the mean 0.981, not 0.982.
TABLE_3_MEAN = (0.972, 0.979, 0.974, 0.982)

# Category coverage of the validation set: AUROC on the validation images, on the test images. 0: no search.
TABLE_4: Mapping[float, tuple[float | None, float]] = {
    0.0: (None, 0.982),
    0.25: (0.984, 0.984),
    0.5: (0.981, 0.984),
    0.75: (0.982, 0.985),
    1.0: (0.983, 0.985),
}

TABLE_5_MEAN = 0.983
TABLE_5_WEIGHTED = 0.986
TABLE_5_BEST: Mapping[int, float] = {4: 0.985, 5: 0.986, 6: 0.987}


def is_papers_data(categories: Iterable[str]) -> bool:
    """Return whether all of these, one or more, are among the paper's 15 categories of MVTec AD."""
    names = set(categories)
    return bool(names) and names <= set(TABLE_3)


def table_3_figure(category: str, sizes: Sizes) -> float | None:
    """Return the paper's pixel AUROC of a category at one size or with the pyramid, None where it gives none."""
    figures = TABLE_3.get(category)
    return figures[TABLE_3_SIZES.index(sizes)] if figures and sizes in TABLE_3_SIZES else None


def table_3_mean(categories: Iterable[str], sizes: Sizes) -> float | None:
    """Return the paper's mean pixel AUROC over these categories, or over all 15 for categories that are not its own.

    None for sizes that the paper has not.
    """
    names = set(categories)
    if sizes not in TABLE_3_SIZES:
        return None
    if not is_papers_data(names) or len(names) == len(TABLE_3):
        return TABLE_3_MEAN[TABLE_3_SIZES.index(sizes)]
    figures = [TABLE_3[name][TABLE_3_SIZES.index(sizes)] for name in names]
    return sum(figures) / len(figures)
