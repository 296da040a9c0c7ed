"""Writes the files of a bundle: the graph, golden images with their scores, and what ties them together."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source, load
from blemish.errors import StorageError, printable
from blemish.export.gates import ELSEWHERE
from blemish.export.golden import blotted
from blemish.export.graph import Graph, write_onnx
from blemish.images.resize import resize
from blemish.images.tiles import cut
from blemish.model.header import Header
from blemish.model.model import Model
from blemish.runtime.bundle import FILE, GRAPHS, Bundle, GoldenPart, Precision, Target, sealed
from blemish.runtime.engines import Engine
from blemish.runtime.runtime import raw_reference
from blemish.storage.files import make_folder, scratch_folder, write_atomically
from blemish.storage.offline import import_openvino, openvino_core
from blemish.version import __version__


def write_graph(folder: Path, model: Model, *, target: Target, precision: Precision, good: Sequence[Source]) -> None:
    """Write the graph of a model, from images to the combined map; good: what the ranges of int8 come from."""
    header = model.header
    teacher, modules = copy.deepcopy(model.teacher).cpu(), copy.deepcopy(model.modules)
    surface = copy.deepcopy(model.surface).cpu() if model.surface else None
    graph = Graph(
        teacher, [one.cpu() for one in modules], reference_size=header.map_size, score=header.score, surface=surface
    )
    with scratch_folder("blemish-export-") as scratch, _writing(folder):
        path = scratch / GRAPHS["onnx"][0]
        write_onnx(path, graph)
        if precision == "int8":
            from blemish.export.quantise import quantise

            loaded = enumerate(_part(load(one, bits=header.bits), header, index) for index, one in enumerate(good))
            images = (blotted(image, seed=index) if index % 2 else image for index, image in loaded)
            feeds = ({f"image{size}": resize(image, size)[None] for size in model.sizes} for image in images)
            path.write_bytes(quantise(path, feeds))
        if target == "openvino":
            graph = openvino_core().read_model(path)
            import_openvino().save_model(graph, scratch / GRAPHS[target][0], compress_to_fp16=False)
        for name in GRAPHS[target]:
            write_atomically(folder / name, (scratch / name).read_bytes())


def _part(image: NDArray[np.uint8], header: Header, index: int) -> NDArray[np.uint8]:
    """Return what the graph sees of an image: all of it, or one of its tiles, in turn."""
    if header.tiles is None:
        return image
    tiles = list(cut(image, header.tiles))
    return tiles[index % len(tiles)]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the libraries say of a full disk into one line; torch and OpenVINO have no error of its own for it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"{printable(folder)}: the graph cannot be written: {reason}") from error


def write_bundle(
    folder: Path,
    header: Header,
    engine: Engine,
    files: Sequence[tuple[str, bytes]],
    *,
    target: Target,
    precision: Precision,
) -> Bundle:
    """Write the golden images and `bundle.json` beside the graph; the expected scores are those of this machine."""
    paths = [folder / name for name, _ in files]
    make_folder(paths[0].parent)
    for path, (_, data) in zip(paths, files, strict=True):
        write_atomically(path, data)
    golden = []
    for path, (name, data) in zip(paths, files, strict=True):
        found = header.reference(*raw_reference(engine, load(path, bits=header.bits), header))
        score, mean = found.score(), float(found.map.mean())
        golden.append(GoldenPart(file=name, sha256=sha256(data).hexdigest(), score=score, mean=mean))
    text = sealed(
        blemish=__version__,
        exported=datetime.now(UTC).isoformat(timespec="seconds"),
        target=target,
        precision=precision,
        graph={name: sha256((folder / name).read_bytes()).hexdigest() for name in GRAPHS[target]},
        golden=golden,
        tolerance=ELSEWHERE[precision] * header.scale.colours[1],
        libraries={name: version(name) for name in ("numpy", "pillow", "torch", "onnxruntime", "openvino")},
        model=header,
    )
    write_atomically(folder / FILE, text)
    return Bundle.model_validate_json(text)
