"""The detector: learn from good images, score new ones, save and load; the one public object."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from blemish import __version__, modelfile
from blemish.arguments import checked
from blemish.datasets import split_good
from blemish.errors import InputError, printable
from blemish.files import make_folder
from blemish.header import DataPart, Header, ModulePart, TeacherPart
from blemish.prediction import Prediction, judge
from blemish.pyramid import Images, Source, all_sources, good_sources, read_known, sources

if TYPE_CHECKING:
    from blemish.export import Exported
    from blemish.fitting import Report
    from blemish.scoring import Module
    from blemish.teacher import Teacher
    from blemish.weighed import Weighed


class Detector:
    """Learns what good parts look like and shows where a new part differs.

    sizes: sides of the square network inputs, multiples of 32 in 64 ... 1024. levels: of 2 ... 5. teacher: one of
    `blemish teacher list`; weights: a file with its weights, by default what is on this machine. recipe: "fast",
    "quick" or "paper". score: "whitened" or "paper". device: "auto", "cpu" or "cuda". The arguments are only stored;
    `fit` checks them.

    Fitted: modules_ (trained modules), threshold_ (an image score above it means NG), header_ (all that the model
    file says about itself), run_folder_ (where the workspace keeps the modules of this fit, if there is one).
    """

    modules_: "list[Module]"
    header_: Header
    run_folder_: Path | None = None
    streams = 1  # images scored at the same time, with all threads
    weighed_: "Weighed"
    _teacher: "Teacher"

    def __init__(
        self,
        *,
        sizes: Sequence[int] = (128, 256, 384),
        levels: Sequence[int] = (2, 3, 4),
        teacher: str = "tf_efficientnet_lite0",
        weights: str | os.PathLike[str] | None = None,
        recipe: str = "fast",
        score: Literal["whitened", "paper"] = "whitened",
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.sizes = sizes
        self.levels = levels
        self.teacher = teacher
        self.weights = weights
        self.recipe = recipe
        self.score = score
        self.seed = seed
        self.device = device

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
        workspace: str | os.PathLike[str] | None = None,
        report: "Report | None" = None,
        cache_gb: float = 8.0,
    ) -> Self:
        """Learn from images of good parts: arrays, paths of images, folders, or CSV manifests (docs/datasets.md).

        held_out: good images that set the threshold and train nothing; by default those that a category keeps apart,
        else a share of the images, chosen by content. workspace: a folder that keeps finished modules, so that the same
        call continues an interrupted fit and ends with the same model; the caller removes it. report: called with a
        `Progress` as training goes on. cache_gb: the most that features may take, in memory and temporary files; where
        float32 needs more they are kept in float16, which `Progress` and header then say. Raises InputError for an
        argument or an image that cannot be used, StorageError if workspace or temporary files cannot be written.
        """
        import torch

        from blemish.assembly import preprocessing
        from blemish.calibration import calibrate
        from blemish.features import check_cache, half_sizes
        from blemish.fitting import fit_modules
        from blemish.scoring import score_pyramid, set_weights
        from blemish.teacher import pick_device
        from blemish.training import find_recipe
        from blemish.weights import load_teacher

        check_cache(cache_gb)
        sizes, levels, seed = checked(self)
        recipe, device = find_recipe(self.recipe), pick_device(self.device)
        teacher = load_teacher(self.teacher, self.weights).to(device).to(memory_format=torch.channels_last)
        given, apart = good_sources(images)
        if held_out is not None:
            apart = sources(held_out)
        known, pyramid = read_known([*given, *apart], sizes)
        train, held = split_good([image.sha256 for image in known], apart=len(apart))
        ranked = [sorted((known[index] for index in part), key=lambda image: image.sha256) for part in (train, held)]
        data = DataPart(train=ranked[0], held_out=ranked[1])
        good = {size: batch[held] for size, batch in pyramid.items()}
        pyramid = {size: pyramid.pop(size)[train] for size in sizes}  # never two copies of all sizes
        half = half_sizes(teacher, sizes, levels, recipe=recipe, images=len(train), cache_gb=cache_gb)
        run = [*(known[index].sha256 for index in train), str(half)]
        folder = self.run_folder_ = self._run_folder(Path(workspace), run, teacher) if workspace is not None else None
        modules = fit_modules(
            teacher, pyramid, levels=levels, recipe=recipe, seed=seed, half=half, workspace=folder, report=report
        )
        set_weights(modules, score=self.score)
        reference_size = sorted(sizes)[len(sizes) // 2]
        maps = score_pyramid(teacher, modules, good, size=reference_size, score=self.score)
        header = Header(
            blemish=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            teacher=TeacherPart(name=self.teacher, sha256=teacher.sha256, embedded=False),
            preprocessing=preprocessing(teacher.architecture),
            sizes=sorted(sizes),
            reference_size=reference_size,
            modules=[ModulePart(size=one.size, level=one.level, weight=one.weight) for one in modules],
            recipe=asdict(recipe) | ({"float16_features": ", ".join(map(str, half))} if half else {}),
            seed=seed,
            score=self.score,
            calibration=calibrate(maps, score=self.score),
            data=data,
            libraries=modelfile.libraries(),
        )
        self._teacher, self.modules_, self.header_ = teacher, modules, header  # all at once, or the old ones stay
        return self

    def score_maps(self, images: Images) -> list[NDArray[np.float32]]:
        """Return the score map of each image at its own resolution: (H, W) float32 in [0, 1], higher = more anomalous.

        Raises InputError for an image that cannot be used.
        """
        return [prediction.score_map for prediction in self.predict(images)]

    def predict(self, images: Images) -> list[Prediction]:
        """Return score, verdict, regions and score map of each image; raises InputError as `score_maps` does."""
        return [
            judge(source, image, reference, threshold=self.threshold_)
            for source, image, reference in self.reference_maps(images)
        ]

    def reference_maps(self, images: Images) -> Iterator[tuple[Source, NDArray[np.uint8], NDArray[np.float32]]]:
        """Yield (path or array, image, score map at the reference size R) for each image, in bounded memory.

        It is from this map, (R, R) float32, that the image score is taken and the map at the image's own resolution
        is stretched. Raises InputError for an image that cannot be used.
        """
        from blemish.reference import reference_maps

        self._check_fitted()
        weightings = [[module.weight for module in self.modules_]]
        for source, image, (reference,) in reference_maps(
            self._teacher, self.modules_, self.header_, sources(images), weightings=weightings
        ):
            yield source, image, reference

    def reference_pairs(self, images: Images) -> Iterator[tuple[Source, NDArray[np.uint8], list[NDArray[np.float32]]]]:
        """Yield what `reference_maps` does with a second map beside it: by the weights that need no labels."""
        from blemish.reference import reference_maps
        from blemish.scoring import label_free_weights

        self._check_fitted()
        bare = label_free_weights(self.modules_, score=self.header_.score)
        weightings = [[module.weight for module in self.modules_], bare]
        yield from reference_maps(self._teacher, self.modules_, self.header_, sources(images), weightings=weightings)

    def weigh(
        self,
        labelled: str | os.PathLike[str],
        *,
        good: Images,
        keep: int | None = None,
        budget_ms: float | None = None,
        objective: str = "logistic",
        share: float | None = None,
        report: "Callable[[int, int], None] | None" = None,
    ) -> Self:
        """Weigh the modules by labelled images, drop those that are not wanted, and set the threshold anew.

        labelled: a data set in any layout of docs/datasets.md; its test images count. good: where the good images of
        the fit are; those that set the threshold are found by their content. keep: how many modules stay; budget_ms:
        the time that one image may take on this machine; default: all stay. objective: of `weighting.OBJECTIVES`;
        "paper" makes the score the paper's, the others make it "whitened". share: weigh with this share of the images
        of each type of defect, chosen by content, and leave the rest for a test; default: with all. report: called
        with the number of images scored and of all. `weighed_` says what was found. Raises InputError for arguments,
        images or labels that cannot be used; the detector then stays as it is.
        """
        from blemish.weighing import weigh

        self._check_fitted()
        self.modules_, self.header_, self.weighed_ = weigh(
            self, Path(labelled), good=all_sources(good), objective=objective, keep=keep, budget_ms=budget_ms,
            share=share, report=report,
        )  # fmt: skip
        return self

    def save(self, path: str | os.PathLike[str], *, embed_teacher: bool = False) -> None:
        """Write the model file, atomically; embed_teacher: with the teacher's weights, as deep as they are needed.

        Raises StorageError if the file cannot be written.
        """
        from blemish.assembly import stored_tensors

        self._check_fitted()
        state = stored_tensors(self.modules_, self._teacher if embed_teacher else None)
        teacher = self.header_.teacher.model_copy(update={"embedded": embed_teacher})
        tensors = {key: tensor.detach().cpu().contiguous().numpy() for key, tensor in state.items()}
        modelfile.save(path, self.header_.model_copy(update={"teacher": teacher}), tensors)

    def export(
        self,
        out: str | os.PathLike[str],
        *,
        to: str,
        precision: str = "float32",
        good: Images = (),
        labelled: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> "Exported":
        """Write a bundle, which `blemish.runtime` scores with; good: the images of the fit. See `export.export`."""
        from blemish.export import export

        self._check_fitted()
        return export(
            self, Path(out), to=to, precision=precision, good=all_sources(good),
            labelled=Path(labelled) if labelled is not None else None, overwrite=overwrite,
        )  # fmt: skip

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None, device: str = "auto"
    ) -> Self:
        """Read a model file; weights: a file with the teacher's weights, if they are neither embedded nor installed.

        Raises ModelFileError for a file that is damaged, foreign or newer, or whose teacher has other weights or
        expects another preprocessing; InputError if there is no such file or the teacher has no weights here.
        """
        from blemish.assembly import assemble

        header, tensors = modelfile.load(path)
        teacher, modules = assemble(header, tensors, path=path, weights=weights, device=device)
        levels = sorted({module.level for module in modules})
        detector = cls(sizes=header.sizes, levels=levels, teacher=header.teacher.name, weights=weights, device=device,
                       recipe=str(header.recipe.get("name", "fast")), score=header.score, seed=header.seed)  # fmt: skip
        detector._teacher, detector.modules_, detector.header_ = teacher, modules, header
        return detector

    @property
    def threshold_(self) -> float:
        """The image score above which the verdict is NG."""
        self._check_fitted()
        return self.header_.calibration.threshold

    def _run_folder(self, workspace: Path, order: list[str], teacher: "Teacher") -> Path:
        """Return the workspace's folder of this very run: one that differs in anything has another.

        order: the sha256 of the images that train, in the order in which batches are drawn from them (files that were
        renamed meanwhile give other batches, and so another model), and what else only the fit knows.
        """
        import torch

        from blemish.training import find_recipe

        run = [__version__, modelfile.libraries(), asdict(find_recipe(self.recipe)), sorted(map(int, self.sizes)),
               sorted(map(int, self.levels)), int(self.seed), self.teacher, teacher.sha256, str(teacher.mean.device),
               torch.get_num_threads(), order]  # fmt: skip
        folder = workspace / sha256(json.dumps(run).encode()).hexdigest()[:16]
        make_folder(folder)
        return folder

    def _check_fitted(self) -> None:
        if not hasattr(self, "header_"):
            raise InputError("this detector is not fitted yet: call fit, or Detector.load")
