"""Label files as labelling tools write them, made by hand, and the masks that they mean."""

import base64
import json
from xml.sax.saxutils import quoteattr

import numpy as np

from blemish.data import datasets
from blemish.data.layouts.labels import Labels
from blemish.data.samples import read_truth
from encoding import encoded

WIDTH, HEIGHT = 40, 32  # of what trees.paint paints


def area(left, top, right, bottom):
    """The mask of a rectangle whose last column and row are right - 1 and bottom - 1."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def ring(left, top, right, bottom):
    """The corners of that rectangle, as COCO writes them."""
    return [left, top, right, top, right, bottom, left, bottom]


def runs(pixels):
    """Lengths of runs, beginning with False; counted one pixel after the other."""
    found, value = [0], False
    for pixel in pixels:
        if pixel != value:
            found.append(0)
            value = pixel
        found[-1] += 1
    return found


def compressed(counts):
    """COCO's text for runs: differences from the number two before, five bits to a character, lowest first."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits, value = value & 31, value >> 5  # arithmetic: the sign stays
            last = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if last else 32))
            if last:
                break
    return text


def coco(file, images, /, *annotations, classes=("scratch", "dent", "part"), **fields):
    """Write a COCO file; images: their names; annotations: (name, class, fields)."""
    content = {
        "info": {"description": "tests"},
        "images": [
            {"id": 10 + number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(images)
        ],
        "annotations": [
            {"id": number, "image_id": 10 + images.index(name), "category_id": 1 + classes.index(kind), **more}
            for number, (name, kind, more) in enumerate(annotations, start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, start=1)],
    }
    return written(file, json.dumps(content | fields))


def polygons(*rings):
    return {"segmentation": list(rings), "bbox": [0, 0, 1, 1], "iscrowd": 0}


BOX = {"segmentation": [], "bbox": [2, 3, 4, 5], "area": 20, "iscrowd": 0}


def labelme(file, image, /, *shapes, **fields):
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None,
               "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip
    return written(file, json.dumps(content | fields))


def shape(kind, form, points, **fields):
    return {"label": kind, "points": points, "group_id": None, "shape_type": form, "flags": {}, **fields}


def corners(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def mask_text(pixels):
    return base64.b64encode(encoded(pixels)).decode()


def cvat(file, *images, labels=("scratch", "dent", "part")):
    """Write a CVAT file; images: (name, elements)."""
    names = "".join(f"<label><name>{name}</name><attributes><attribute><name>hidden</name></attribute></attributes>"
                    "</label>" for name in labels)  # fmt: skip
    lines = [
        f'<image id="{number}" name={quoteattr(name)} width="{WIDTH}" height="{HEIGHT}">{"".join(elements)}</image>'
        for number, (name, *elements) in enumerate(images)
    ]
    head = f"<version>1.1</version><meta><task><labels>{names}</labels></task></meta>"
    return written(file, f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{head}{"".join(lines)}</annotations>\n')


def element(form, kind="scratch", **attributes):
    text = " ".join(f"{name}={quoteattr(str(value))}" for name, value in attributes.items())
    return f'<{form} label={quoteattr(kind)} source="manual" occluded="0" {text} z_order="0"></{form}>'


def drawn(left, top, right, bottom, kind="scratch"):
    return element("polygon", kind, points=f"{left},{top};{right}.00,{top};{right},{bottom};{left},{bottom}")


def written(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def read(data, *defects, unlabelled="good"):
    """Return the samples of a data set, what their truth is by path, and what is said of them."""
    said = []
    labels = Labels(unlabelled=unlabelled, defects=defects, say=said.append)
    samples = datasets.read_samples(data, labels=labels)
    root = datasets.sample_root(data)
    return {sample.path.relative_to(root).as_posix(): sample for sample in samples}, said


def truth(sample):
    """The mask of a sample with outlines, None for one without."""
    return read_truth(sample) if sample.has_truth else None
