"""What the tests of the report share: a model's header, a folder of results as predict leaves it, what a page holds."""

import json
import re
from html import unescape

import numpy as np
from PIL import Image

from blemish.data.records import DataPart
from blemish.images.preprocessing import PreprocessingPart
from blemish.model.header import CalibrationPart, Header, ModulePart, ScoredPart, TeacherPart
from blemish.results.write import Judge
from blemish.storage.files import make_folder

# Ten held-out scores; the second highest promises 2 in 11, the highest 1 in 11.
HELD_OUT = {"a.png": 0.5, "b.png": 0.3, "c.png": 0.29, "d.png": 0.28, "e.png": 0.27, "f.png": 0.26, "g.png": 0.25,
            "h.png": 0.24, "i.png": 0.23, "j.png": 0.22}  # fmt: skip


def header(*, review=0.3, ng=0.5, held_out=HELD_OUT, groups=(), **calibration):
    """A model of two modules; groups: of the held-out images, in their order."""
    names = [*groups, *([""] * (len(held_out) - len(groups)))]
    scored = [
        ScoredPart(name=name, sha256=f"{index:064x}", score=score, group=group)
        for index, ((name, score), group) in enumerate(zip(held_out.items(), names, strict=True))
    ]
    return Header(
        blemish="0.9.0",
        created="2026-01-02T03:04:05+00:00",
        teacher=TeacherPart(name="tf_efficientnet_lite0", sha256="a" * 64, embedded=False),
        preprocessing=PreprocessingPart(mean=[0.5] * 3, std=[0.5] * 3),
        sizes=[64, 128],
        reference_size=64,
        modules=[ModulePart(size=64, level=2, weight=0.75), ModulePart(size=128, level=3, weight=0.25)],
        recipe={"name": "fast"},
        seed=3,
        score="whitened",
        calibration=CalibrationPart(good=-14.0, limit=-8.0, held_out=scored, review=review, ng=ng, **calibration),
        data=DataPart(train=[], held_out=[], told_by="pixels"),
        libraries={},
    )


def paint(path, value=90, *, width=48, height=32):
    make_folder(path.parent)
    Image.fromarray(np.full((height, width), value, np.uint8)).save(path, "PNG")
    return path


def line(path, score, overlay, *, review=0.3, ng=0.5, regions=()):
    verdict = "OK" if score <= review else "NG" if ng is None or score > ng else "REVIEW"
    return {
        "path": str(path), "score": score, "thresholds": {"review": review, "ng": ng}, "verdict": verdict,
        "regions": list(regions), "overlay": overlay,
    }  # fmt: skip


def results(folder, images, *, model=None, failures=()):
    """Make a folder of results: images maps names to scores; the images lie beside it, in parts/."""
    model = model or header()
    out = folder / "results"
    make_folder(out)
    lines = []
    for index, (name, score) in enumerate(images.items()):
        path = paint(folder / "parts" / name, 40 + index)
        paint(out / "overlays" / f"{index}.png", 200)
        regions = [{"area": 12, "box": [3, 5, 4, 3], "peak": score}] if score > model.calibration.review else []
        levels = {"review": model.calibration.review, "ng": model.calibration.ng}
        lines.append(line(path, score, f"overlays/{index}.png", regions=regions, **levels))
    lines += [{"path": path, "error": f"{path}: {why}"} for path, why in failures]
    (out / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (out / "model.json").write_text(Judge(sha256="b" * 64, header=model).model_dump_json())
    return out


def embedded(page, element="data"):
    """Return the plain values that an element of a page holds."""
    text = page if isinstance(page, str) else page.decode()
    (found,) = re.findall(rf'<script type="application/json" id="{element}">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def words(page):
    """Return the words of a page as they are read, without what is between < and >, scripts and styles."""
    text = page if isinstance(page, str) else page.decode()
    text = re.sub(r"<(script|style).*?</\1>", " ", text, flags=re.DOTALL)
    text = re.sub(r"</(td|th|p|h\d|caption|li|button|legend|label|option)>", " ", text)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", text)).split())
