"""What people call the folders of good parts, of defects and of masks: the words of the field, in some languages."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from blemish.data.listing import entries, is_folder

Meaning = Literal["good", "bad", "masks", "unclear", ""]

GOOD = frozenset(
    re.findall(
        r"\S+",
        """good goods ok okay o.k. oks normal normals pass passed passing conforme conform conforming accept accepted
        acceptable faultless flawless defect-free defectfree non-defective nondefective no-defect nodefect
        no-defects nodefects no-anomaly not-defective gut gute gutteil gutteile io i.o. i.o in-ordnung fehlerfrei
        bon bonne bons bonnes sain buono buoni buona conformi bueno buenos buena correcto goed bom boa dobry dobre
        良品 合格 正常 ok品 양품 정상 годен норма""",
    )
)
BAD = frozenset(
    re.findall(
        r"\S+",
        """bad bads ng n.g. nok n.o.k. not-ok notok ko k.o. abnormal abnormals anomaly anomalies anomalous anomalie
        fail fails failed failing failure failures fault faults faulty defect defects defective defectives defected
        nonconforming non-conforming reject rejects rejected rejection scrap scraps not-good notgood no-good outlier
        outliers unhealthy schlecht schlechte schlechtteil schlechtteile nio n.i.o. n.i.o nicht-in-ordnung fehler
        fehlerhaft fehlteile ausschuss defekt defekte mauvais mauvaise rebut rebuts defaut defauts défaut défauts
        cattivo cattivi scarto scarti difetto difetti difettoso malo malos defecto defectos defectuoso defectuosos
        slecht ruim defeito defeitos zly zle wadliwe brak 不良 不良品 不合格 异常 缺陷 불량 불량품 брак дефект""",
    )
)
MASKS = frozenset(
    re.findall(
        r"\S+",
        """mask masks masken maske mascara mascaras masque masques maschera maschere ground-truth ground-truths
        groundtruth groundtruths gt gts segmentation segmentations annotation annotations truth truths""",
    )
)
# Some say "positive" of a part that passes, others of a test that finds a defect.
UNCLEAR = frozenset(
    re.findall(
        r"\S+",
        """positive positives pos negative negatives neg 0 1 true false yes no class-0 class-1 label-0 label-1""",
    )
)
# Folders in which labelling tools leave their files, beside those of the images.
LABEL_FOLDERS = frozenset({"label", "labels", "annotation", "annotations", "json", "jsons", "xml", "xmls"})
TAILS = re.compile(
    "-(dirs?|folders?|images?|imgs?|pics?|pictures?|photos?|parts?|samples?|data|bilder|teile|set|png|jpg|bmp)$"
)


# What stands behind an image's name in that of its mask.
MASK_TAIL = re.compile(
    r"[-_. ](masks?|maske|gt|ground[-_ ]?truth|labels?|seg|segmentation|annotations?|truth)$", re.IGNORECASE
)


def masked(stem: str) -> str:
    """Return the name of the image that a mask of this name (less its suffix) belongs to; "" where none is meant."""
    return stem[: tail.start()] if (tail := MASK_TAIL.search(stem)) else ""


@lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning:
    """Return what a folder's name says of the images in it; "" for a word that says nothing, such as a type of defect.

    Case, accents written in two ways, and what parts words do not count, nor what says that they are images: OK,
    good_parts and Gut-Bilder are good. "unclear": a word that means one thing to some, and the other to others.
    """
    word = re.sub(r"[\s_-]+", "-", normalize("NFKC", name).casefold().strip())
    while True:
        for words, said in ((GOOD, "good"), (BAD, "bad"), (MASKS, "masks"), (UNCLEAR, "unclear")):
            if word in words:
                return said  # type: ignore[return-value]
        if (shorter := TAILS.sub("", word)) == word:
            return ""
        word = shorter


def by_meaning(folder: Path) -> dict[Meaning, list[str]]:
    """Return the names of the folders in a folder, sorted by what they say; none of a folder that is not there."""
    found: dict[Meaning, list[str]] = {}
    if is_folder(folder):
        for name in _folders(folder):
            found.setdefault(meaning(name), []).append(name)
    return found


def spelt(folder: Path, place: str) -> str:
    """Return how a place such as train/good is spelt below a folder, where case does not count; else as it is given."""
    found: list[str] = []
    for part in place.split("/"):
        here = folder.joinpath(*found)
        if not is_folder(here / part) and is_folder(here):
            part = next((name for name in _folders(here) if name.casefold() == part.casefold()), part)  # noqa: PLW2901
        found.append(part)
    return "/".join(found)


def good_folder(folder: Path, default: str) -> str:
    """Return the name of the folder of good parts in a folder: the default, in any case, else the one that says so."""
    name = spelt(folder, default)
    said = by_meaning(folder).get("good", [])
    return said[0] if not is_folder(folder / name) and len(said) == 1 else name


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in entries(folder) if entry.is_dir())
