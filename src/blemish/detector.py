"""The detector: learn from good images, score new ones, save and load; the one public object."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from blemish.checks import given_path
from blemish.data.datasets import AS_THEY_ARE
from blemish.data.layouts.labels import Labels
from blemish.data.sources import Images, Source, all_sources, sources
from blemish.data.together.groups import Groups
from blemish.errors import InputError, printable
from blemish.images.roi import Interest, Mask, StrPath
from blemish.model.arguments import Arguments
from blemish.model.calibration import Wanted, with_thresholds
from blemish.model.header import Header
from blemish.model.scorer import said
from blemish.verdict.judge import Prediction
from blemish.verdict.scale import Reference
from blemish.verdict.threshold import Thresholds, read_rates, read_wanted

if TYPE_CHECKING:
    from blemish.export.export import Exported
    from blemish.method.learning.progress import Report
    from blemish.method.scoring import AnyModule
    from blemish.model.model import Model
    from blemish.weighing.findings import Findings


Rates = str | float | Sequence[float] | None  # of false alarms: REVIEW, or REVIEW and NG


class Detector:
    """Learns what good parts look like and shows where a new part differs.

    sizes: sides of the square network inputs, multiples of 32 in 64 ... 1024. levels: of 2 ... 5. teacher: one of
    `blemish teacher list`; weights: a file with its weights, by default what is on this machine. recipe: "fast",
    "quick" or "paper". score: "memory", "whitened" or "paper". device: "auto", "cpu" or "cuda". bits: of the values of
    16-bit images that are used, 9 ... 16. min_area: the share of the image that a defect covers at least, 0.001 or
    "0.1%": the image score is then the highest at which the map has a connected part of that area. tiles: "auto", None,
    a side in px or (side, overlap): how images are cut (docs/method.md). The arguments are only stored until `fit`.

    Fitted: model_ (the teacher, the modules and the header), modules_ (trained modules), thresholds_ (of image scores:
    above `review` they want a look, above `ng` they are defects), header_ (all that the model file says about itself),
    run_folder_ (where the workspace keeps the modules of this fit, if there is one).
    """

    model_: "Model"
    run_folder_: Path | None = None
    streams = 1  # images scored at the same time, with all threads
    weighed_: "Findings"

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (128, 256, 384),
        levels: Sequence[int] = (2, 3, 4),
        teacher: str = "tf_efficientnet_lite0",
        weights: StrPath | None = None,
        recipe: str = "fast",
        score: Literal["memory", "whitened", "paper"] = "memory",
        seed: int = 0,
        device: str = "auto",
        bits: int = 16,
        min_area: str | float = 0.0,
        tiles: str | int | tuple[int, str | float] | None = "auto",
    ) -> None:
        self.sizes = sizes
        self.levels = levels
        self.teacher = teacher
        self.weights = weights
        self.recipe = recipe
        self.score = score
        self.seed = seed
        self.device = device
        self.bits = bits
        self.min_area = min_area
        self.tiles = tiles

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  # scikit-learn's signature
        """Return the arguments of the constructor by name; deep changes nothing, as none has arguments of its own."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor; what is fitted stays. Raises InputError for a name that is none."""
        if strange := params.keys() - (known := self.get_params()).keys():
            raise InputError(f"parameter {printable(min(strange))} is not known; known: {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(
        self,
        images: Images,
        *,
        held_out: Images | None = None,
        workspace: StrPath | None = None,
        report: "Report | None" = None,
        cache_gb: float = 8.0,
        jobs: int | None = None,
        labels: Labels = AS_THEY_ARE,
        false_alarms: Rates = None,
        groups: Groups = None,
        roi: Mask = None,
        ignore: Mask = None,
        ignore_border: str | float = 0.0,
    ) -> Self:
        """Learn from images of good parts: arrays, paths of images, folders, or CSV manifests (docs/datasets.md).

        held_out: good images that set the threshold and train nothing; by default those that a category keeps apart,
        else a share of the images, chosen by content. workspace: a folder that keeps finished modules, so that the same
        call continues an interrupted fit and ends with the same model; the caller removes it. report: called with a
        `Progress`, from any thread. cache_gb: the most that features may take, in memory and temporary files; where
        float32 needs more they are kept in float16, which `Progress` and header say. jobs: how many modules learn side
        by side, usually two. labels: how those of labelling tools are taken. false_alarms: the shares of good images
        to be called REVIEW or NG, and NG, such as "5%,1%" or (0.05, 0.01), by default as far as the held-out carry it.
        groups: the group of each image, those of held_out after the others, "" for one that stands alone; or "folder";
        or a regular expression that finds it in paths (`find_groups`): groups are held out whole, the promise is of a
        new one. roi, ignore: masks of pixels that do and do not count: paths, or bool (H, W); ignore_border: the share
        of each side that does not, "3%". Raises InputError for what cannot be used, StorageError for files unwritten.
        """
        from blemish.model.fit import fit

        place = given_path(workspace, "workspace") if workspace is not None else None
        fitted = fit(Arguments(**self.get_params()), images, held_out=held_out, workspace=place, report=report,
                     cache_gb=cache_gb, jobs=jobs, labels=labels, wanted=read_rates(false_alarms), groups=groups,
                     interest=Interest(roi, ignore, ignore_border))  # fmt: skip
        self.model_, self.run_folder_ = fitted.model, fitted.run_folder
        return self

    def score_maps(self, images: Images) -> list[NDArray[np.float32]]:
        """Return the score map of each image at its own resolution: (H, W) float32 in [0, 1], higher = more anomalous.

        Raises InputError for an image that cannot be used.
        """
        return [prediction.score_map for prediction in self.predict(images)]

    def predict(self, images: Images) -> list[Prediction]:
        """Return score, verdict, regions and score map of each image; raises InputError as `score_maps` does."""
        return [said(self.header_, *scored) for scored in self.references(images)]

    def references(self, images: Images) -> Iterator[tuple[Source, NDArray[np.uint8], Reference]]:
        """Yield (path or array, image, what its verdict is taken from) for each image, in bounded memory.

        Score maps are stretched from its map. Raises InputError for an image that cannot be used.
        """
        yield from self._fitted().references(sources(images))

    def reference_pairs(self, images: Images) -> Iterator[tuple[Source, NDArray[np.uint8], list[Reference]]]:
        """Yield what `references` does with a second one beside it: by the weights that need no labels."""
        yield from self._fitted().reference_pairs(sources(images))

    def weigh(
        self,
        labelled: StrPath,
        *,
        good: Images,
        keep: int | None = None,
        budget_ms: float | None = None,
        objective: str = "logistic",
        share: float | None = None,
        report: "Callable[[int, int], None] | None" = None,
        labels: Labels = AS_THEY_ARE,
        false_alarms: Rates = None,
    ) -> Self:
        """Weigh the modules by labelled images, drop those not wanted, and set scale and thresholds anew.

        labelled: a data set in any layout of docs/datasets.md; its test images count. good: where the good images of
        the fit are; those that set the threshold are found by their content. keep: how many modules stay; budget_ms:
        the time that one image may take on this machine; default: all stay. objective: of `weighing.search.OBJECTIVES`;
        "paper" makes the score the paper's and drops a memory, the others make "whitened" of that. share: weigh with
        this share of the images of each type of defect, chosen by content, and leave the rest for a test; default: with
        all. report: called
        with the number of images scored and of all. labels: as in `fit`, for `labelled`. false_alarms: as in `fit`;
        default: what was asked for before. `weighed_` says what was found. Raises InputError for arguments, images or
        labels that cannot be used; the detector then stays as it is.
        """
        from blemish.weighing.weigh import weigh

        self.model_, self.weighed_ = weigh(
            self._fitted(), given_path(labelled, "labelled"), good=all_sources(good), objective=objective, keep=keep,
            budget_ms=budget_ms, share=share, report=report, labels=labels, wanted=read_rates(false_alarms),
        )  # fmt: skip
        return self

    def calibrate(
        self,
        good: Images = (),
        *,
        add: bool = False,
        without: Sequence[str] = (),
        false_alarms: Rates = None,
        threshold: Rates = None,
        roi: Mask = None,
        ignore: Mask = None,
        ignore_border: str | float | None = None,
    ) -> Self:
        """Set other thresholds; modules and scale stay.

        good: good images that trained nothing; they take the place of the held-out ones, or with `add` join them.
        without: names of held-out images that are no good parts after all. false_alarms: as in `fit`; threshold: one
        score or two, those of REVIEW and NG, in place of rates. roi, ignore, ignore_border: as in `fit`, another region
        of interest than the model's, by which `good` are scored; a border of 0 alone: all pixels count. Raises
        InputError for arguments or images that cannot be used; the detector then stays as it is.
        """
        from blemish.calibrating.recalibrate import looking_at, recalibrated

        wanted = read_wanted(false_alarms, threshold)
        given = sources(good)
        scorer, given = looking_at(self, Interest(roi, ignore, ignore_border), good=given, add=add)
        header = recalibrated(scorer, given, add=add, without=without, wanted=wanted)
        self.model_ = replace(self._fitted(), header=header)
        return self

    def with_header(self, header: Header) -> Self:
        """Return the same detector with another header: other thresholds, another region of interest."""
        other = copy(self)
        other.model_ = replace(self._fitted(), header=header)
        return other

    def set_thresholds(self, wanted: Wanted) -> Self:
        """Set other thresholds on the same scale: by a `Budget`, by `Thresholds`, or leave them as they are for None.

        Raises InputError for a budget that the held-out images cannot carry.
        """
        self.model_ = replace(self._fitted(), header=with_thresholds(self.header_, wanted))
        return self

    def save(self, path: StrPath, *, embed_teacher: bool = False, overwrite: bool = True) -> None:
        """Write the model file, atomically; embed_teacher: with the teacher's weights, as deep as they are needed.

        Raises StorageError if the file cannot be written, InputError if there is one and overwrite is false.
        """
        from blemish.model.assembly import save

        save(self._fitted(), given_path(path, "path"), embed_teacher=embed_teacher, overwrite=overwrite)

    def export(
        self,
        out: StrPath,
        *,
        to: str,
        precision: str = "float32",
        good: Images = (),
        labelled: StrPath | None = None,
        overwrite: bool = False,
        labels: Labels = AS_THEY_ARE,
        false_alarms: Rates = None,
    ) -> "Exported":
        """Write a bundle, which `blemish.runtime` scores with; good: the images of the fit. See `export.export`."""
        from blemish.export.export import export

        return export(
            self._fitted(), given_path(out, "out"), to=to, precision=precision, good=all_sources(good),
            labelled=given_path(labelled, "labelled") if labelled is not None else None, overwrite=overwrite,
            labels=labels, wanted=read_rates(false_alarms),
        )  # fmt: skip

    @classmethod
    def load(cls, path: StrPath, *, weights: StrPath | None = None, device: str = "auto") -> Self:
        """Read a model file; weights: a file with the teacher's weights, if they are neither embedded nor installed.

        Raises ModelFileError for a file that is damaged, foreign or newer, or whose teacher has other weights or
        expects another preprocessing; InputError if there is no such file or the teacher has no weights here.
        """
        from blemish.model.assembly import load

        model = load(given_path(path, "path"), weights=weights, device=device)
        header, levels = model.header, sorted({module.level for module in model.modules})
        detector = cls(sizes=header.sizes, levels=levels, teacher=header.teacher.name, weights=weights, device=device,
                       recipe=str(header.recipe.get("name", "fast")), score=header.score, seed=header.seed,
                       bits=header.bits, min_area=header.calibration.min_area, tiles=header.wanted_tiles)  # fmt: skip
        detector.model_ = model
        return detector

    @property
    def modules_(self) -> "list[AnyModule]":
        """The trained modules."""
        return self.model_.modules

    @property
    def header_(self) -> Header:
        """All that the model file says about itself."""
        return self.model_.header

    @property
    def thresholds_(self) -> Thresholds:
        """The image scores above which the verdict is REVIEW, and NG."""
        return self._fitted().header.calibration.thresholds

    def _fitted(self) -> "Model":
        if not hasattr(self, "model_"):
            raise InputError("this detector is not fitted yet: call fit, or Detector.load")
        return self.model_
