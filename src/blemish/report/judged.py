"""A model on labelled data as the subject of a page: every image is decoded once, scored, and made small."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from blemish.data.ahead import ahead
from blemish.data.datasets import AS_THEY_ARE, sample_root
from blemish.data.layouts.labels import Labels
from blemish.data.listing import folder_name, listed
from blemish.data.samples import Sample, read_truth
from blemish.data.sources import load
from blemish.errors import InputError, printable
from blemish.evaluation.evaluate import Chosen
from blemish.model.header import Header
from blemish.model.scorer import Scorer
from blemish.report.pictures import Mask, bounded, embedded, heat_layer, outline_path, small
from blemish.report.places import full_link, row_path
from blemish.report.shown import Cost, Pixels, Shown, Subject
from blemish.report.strangers import strangers_in
from blemish.verdict.judge import Prediction

HIDDEN = "all that is defective lies outside of the region of interest"
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """A test image on its way: its pixels and its truth, then what a model says of it."""

    sample: Sample
    image: Pixels
    truth: Mask | None
    prediction: Prediction | None = None


def judged_subject(
    scorer: Scorer,
    chosen: Chosen,
    *,
    model: Path,
    model_sha256: str,
    page: Path,
    embed: bool = False,
    labels: Labels = AS_THEY_ARE,
    report: Report | None = None,
) -> Subject:
    """Return the subject of a page about the test images that `choose` has chosen.

    page: where it will lie; embed: with the full pictures in it; labels: as in `choose`; report: called with the number
    of images scored and of all. In memory are a few images at a time, and the small pictures of all. Raises InputError
    for an image or a mask that cannot be used, and as `bounded` does.
    """
    samples, header = chosen.samples, scorer.header_
    root = Path(sample_root(chosen.data)).absolute()
    make = partial(_shown, scorer=scorer, root=root, page=page, embed=embed, named=_several(samples))
    images: list[Shown] = []
    with ExitStack() as stack:
        for done, shown in enumerate(bounded(_pipeline(scorer, samples, make, stack)), start=1):
            images.append(shown)
            if report:
                report(done, len(samples))
    hidden = [one.name for one in images if one.area == 0]
    if len(hidden) == len(images):
        raise InputError(f"{printable(chosen.data)}: {HIDDEN}: {listed(hidden)}")
    costs = module_costs(scorer)
    return Subject(
        title=folder_name(chosen.data),
        header=header,
        sha256=model_sha256,
        images=[one for one in images if one.area != 0],
        folder=root,
        truth=True,
        model=model,
        notes=[*_notes(chosen), *([f"Left out: {HIDDEN}: {listed(hidden)}."] if hidden else [])],
        facts=[("tested on", _data(chosen))],
        strangers=strangers_in(scorer, chosen.data, labels=labels),
        costs=costs,
        costs_said="ms: a module's own on this machine; the modules of a size share its teacher."
        if costs
        else "A bundle runs its modules as one graph: what each costs, the model file tells.",
    )


def module_costs(scorer: Scorer) -> dict[str, Cost]:
    """Return what each module of a model costs on this machine, by its name; of a bundle it is not known: none."""
    model = getattr(scorer, "model_", None)
    if model is None:
        return {}
    from blemish.weighing.costs import measure

    costs = measure(model, repeats=5)
    return {name: Cost(ms=ms, megabytes=costs.megabytes[name]) for name, ms in costs.modules.items()}


def _pipeline(
    scorer: Scorer, samples: list[Sample], make: Callable[[_Job], Shown], stack: ExitStack
) -> Iterator[Shown]:
    """Return the images as they are shown, in order: several at a time where the scorer can, else one at each step."""
    read, score = partial(_read, header=scorer.header_), partial(_score, scorer=scorer)
    if scorer.streams > 1:
        whole = partial(_whole, read=read, score=score, make=make)
        return stack.enter_context(closing(ahead(whole, samples, workers=scorer.streams)))
    jobs = stack.enter_context(closing(ahead(read, samples)))
    scored = stack.enter_context(closing(ahead(score, jobs)))
    return stack.enter_context(closing(ahead(make, scored)))


def _whole(
    sample: Sample, *, read: Callable[[Sample], _Job], score: Callable[[_Job], _Job], make: Callable[[_Job], Shown]
) -> Shown:
    return make(score(read(sample)))


def _read(sample: Sample, *, header: Header) -> _Job:
    return _Job(sample, load(sample.path, bits=header.bits, roi=header.roi), read_truth(sample))


def _score(job: _Job, *, scorer: Scorer) -> _Job:
    (prediction,) = scorer.predict([job.image])
    return replace(job, prediction=prediction)


def _shown(job: _Job, *, scorer: Scorer, root: Path, page: Path, embed: bool, named: bool) -> Shown:
    sample, image, truth, prediction = job.sample, job.image, job.truth, job.prediction
    assert prediction is not None, "scored"
    low, top = scorer.header_.scale.colours
    row = row_path(sample.path, folder=root)
    label = f"{sample.category}/{sample.label}" if named and sample.label != "good" else sample.label
    return Shown(
        name=row or printable(sample.path),
        row=row,
        score=prediction.score,
        label=label,
        area=_area(truth, scorer.header_.counted(*image.shape[:2])),
        width=image.shape[1],
        height=image.shape[0],
        regions=[region.plain for region in prediction.regions],
        full=embedded(image) if embed else full_link(sample.path, page=page),
        overlay=None,
        heat=True,
        picture=small(image),
        layer=heat_layer(prediction.score_map, low=low, top=top),
        truth=None if truth is None else outline_path(truth),
        outlines=outline_path(prediction.inside),
    )


def _area(truth: Mask | None, counted: Mask | None) -> int | None:
    """Return how many defective pixels count; None where no mask is known or it marks nothing."""
    if truth is None or not truth.any():
        return None
    return int((truth if counted is None else truth & counted).sum())


def _several(samples: list[Sample]) -> bool:
    """Return whether the samples are of several categories; types of defects are then named with theirs."""
    return len({sample.category for sample in samples}) > 1


def _notes(chosen: Chosen) -> list[str]:
    """Return what is to be known of the images before any figure is believed."""
    notes = []
    if met := chosen.used["images"]:
        fate = "left out" if chosen.used["rule"] == "skip" else "kept, so figures are too good"
        notes.append(f"Images that the model has met before, {len(met)}, are {fate}: {chosen.used['summary']}.")
    if twins := chosen.repeated:
        notes.append(f"Left out as equal to another: {listed(twin['image'] for twin in twins)}.")
    return notes


def _data(chosen: Chosen) -> str:
    """Return the fingerprint of the test images: how many, and the sha256 of what tells each of them again."""
    digest = sha256("\n".join(sorted(image.sha256 for image in chosen.images)).encode()).hexdigest()
    return f"{printable(chosen.data)}: {len(chosen.images)} images, sha256 {digest}"
