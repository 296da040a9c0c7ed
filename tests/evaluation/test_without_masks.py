"""Evaluation where little is known of some images: no masks, the same picture twice, masks that mark all."""

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.evaluation.evaluate import evaluate
from blemish.printing.figures import print_evaluation
from evaluating import SIDE, Stub, paint, part  # noqa: F401


def test_defects_without_masks_are_judged_as_images_only(part):
    whole = evaluate(Stub(review=0.7), part, resolution=SIDE)["overall"]
    for file in (part / "ground_truth").rglob("*.png"):
        file.unlink()
    for folder in (part / "ground_truth/scratch", part / "ground_truth/dot", part / "ground_truth"):
        folder.rmdir()
    result = evaluate(Stub(review=0.7), part, resolution=SIDE)
    overall = result["overall"]
    assert (result["images"], result["good"], result["without_masks"], result["regions"]) == (6, 3, 3, 0)
    for same in ("image_auroc", "image_ap", "found", "false_alarms", "recall"):
        assert overall[same] == whole[same]
    assert overall["recall"] == overall["found"] / 3
    assert overall["pixel_auroc"] is None
    assert overall["undefined"]["aupro"] == "no defect pixel"
    assert result["types"]["dot"]["without_masks"] == 1


def test_pixels_are_judged_on_images_with_masks_alone(part, tmp_path):
    """A mask less: the figures of pixels are those of a set without that image, the others stay."""
    manifest = ["path,label,mask,split"]
    for path in sorted((part / "test").rglob("*.png")):
        label = path.parent.name
        mask = f"ground_truth/{label}/{path.stem}_mask.png" if label != "good" else ""
        manifest.append(f"{path.relative_to(part)},{label},{mask},test")
    (part / "all.csv").write_text("\n".join(manifest))
    (part / "less.csv").write_text("\n".join(manifest).replace("ground_truth/dot/0_mask.png", ""))
    (part / "two.csv").write_text("\n".join(line for line in manifest if "dot" not in line))
    whole, less, two = (evaluate(Stub(), part / f"{name}.csv", resolution=SIDE) for name in ("all", "less", "two"))
    assert (less["without_masks"], less["regions"], whole["regions"]) == (1, 4, 5)
    for key in ("aupro", "pixel_auroc", "pixel_ap", "pixel_f1_max"):
        assert less["overall"][key] == two["overall"][key] != whole["overall"][key]
    assert less["overall"]["image_auroc"] == whole["overall"]["image_auroc"]


def test_a_picture_that_is_there_twice_counts_once(part):
    before = evaluate(Stub(review=0.7), part, resolution=SIDE)
    first = part / "test/scratch/0.png"
    for name in ("7.png", "8.png"):
        (part / "test/scratch" / name).write_bytes(first.read_bytes())
        paint(part / "ground_truth/scratch" / name, np.full((SIDE, SIDE), 255, np.uint8))
    after = evaluate(Stub(review=0.7), part, resolution=SIDE)
    assert after["repeated"] == [
        {"image": f"test/scratch/{name}", "same_as": "test/scratch/0.png"} for name in ("7.png", "8.png")
    ]
    assert after["overall"] == before["overall"]
    (part / "test/good/9.png").write_bytes(first.read_bytes())
    with pytest.raises(InputError, match=r"one picture with two labels: .*good/9.png \(good\) and .*0.png \(scratch\)"):
        evaluate(Stub(), part)


def test_a_mask_that_marks_all_is_named(part):
    paint(part / "ground_truth/dot/0_mask.png", np.full((SIDE, SIDE), 255, np.uint8))
    result = evaluate(Stub(), part, resolution=SIDE)
    assert result["doubtful_masks"] == {"nearly all": ["test/dot/0.png"]}


def test_what_is_found_beside_the_defect_is_told_from_what_is_found_on_it(tmp_path, capsys):
    """Spots of 3 x 3 px: on the mask, beside it, too dark to be found, and one without a mask."""
    folder = tmp_path / "part"
    paint(folder / "good" / "0.png", np.full((SIDE, SIDE), 40, np.uint8))
    rows = ["path,label,mask,split", "good/0.png,good,,test"]
    for name, level, left in (("dent/0", 240, 8), ("dent/1", 240, 24), ("dent/2", 90, 8), ("bare/0", 240, 16)):
        pixels, mask = np.full((SIDE, SIDE), 40, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        pixels[8:11, left : left + 3], mask[8:11, 8:11] = level, 255
        paint(folder / f"{name}.png", pixels)
        paint(folder / "masks" / f"{name}.png", mask)
        label = name.split("/")[0]
        rows.append(f"{name}.png,{label},{f'masks/{name}.png' if label == 'dent' else ''},test")
    (folder / "all.csv").write_text("\n".join(rows))
    result = evaluate(Stub(review=0.7), folder / "all.csv", resolution=SIDE)
    for figures, expected in ((result["overall"], (3, 2, 1)), (result["types"]["dent"], (2, 2, 1)),
                              (result["types"]["bare"], (1, 0, 0))):  # fmt: skip
        assert tuple(figures[key] for key in ("found", "found_masked", "on_defect")) == expected
    print_evaluation(result)
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("found: 3 of 4 defective images (75.0%) with the verdict NG (score above 0.7000)")
    assert lines[at + 1 : at + 3] == [
        "of these 1 have a region on the defect; 2 of them have a mask",
        "false alarms: 0 of 1 good image with the verdict NG",
    ]
