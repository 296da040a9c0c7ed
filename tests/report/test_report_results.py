"""A folder of results as a page: what is taken from it, and what is refused."""

import json
import os

import pytest

from blemish.errors import InputError
from blemish.report import pictures
from blemish.report.folder import read_results, results_subject
from pages import header, paint, results
from trees import refused

SCORES = {"good/1.png": 0.2, "bad/1.png": 0.55}


def subject(folder, **options):
    return results_subject(read_results(folder), page=folder.parent / "report.html", **options)


def test_what_a_page_is_given(tmp_path):
    found = subject(results(tmp_path, SCORES, failures=[("x.png", "empty file")]))
    assert (found.truth, found.model, found.folder) == (False, None, tmp_path / "parts")
    assert found.failed == ["x.png: empty file"]
    assert found.notes == []
    good, bad = found.images
    assert (good.name, good.row, good.score, good.regions) == ("good/1.png", "good/1.png", 0.2, [])
    assert bad.regions == [{"area": 12, "box": [3, 5, 4, 3], "peak": 0.55}]
    assert (bad.width, bad.height, bad.label, bad.area, bad.heat) == (48, 32, None, None, False)
    assert (bad.full, bad.overlay) == ("./parts/bad/1.png", "./results/overlays/1.png")
    assert bad.picture.startswith("data:image/webp")
    assert bad.layer.startswith("data:image/webp")
    assert found.facts[0][1].startswith("2 images, sha256 ")


def test_embedded_pictures_need_no_file(tmp_path):
    found = subject(results(tmp_path, SCORES), embed=True)
    assert all(one.full.startswith("data:") and one.overlay.startswith("data:") for one in found.images)


def test_more_full_pictures_than_a_browser_can_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_EMBEDDED", 300)
    out = results(tmp_path, SCORES)
    refused(lambda: subject(out, embed=True), "embed: the first ", "full pictures take more than", "leave --embed away")
    assert len(subject(out).images) == 2


def test_images_that_are_gone_are_named_and_shown_by_their_overlay(tmp_path):
    out = results(tmp_path, SCORES)
    (tmp_path / "parts" / "bad" / "1.png").unlink()
    found = subject(out)
    gone = found.images[1]
    assert (gone.picture, gone.full, gone.width) == (None, None, 48)
    assert gone.layer.startswith("data:image/webp")
    assert found.notes[0].startswith("1 of 2 images are not where they were, or cannot be read: bad/1.png.")
    (out / "overlays" / "1.png").write_bytes(b"no picture")
    assert (subject(out).images[1].layer, subject(out).images[1].width) == (None, 0)


def test_regions_may_say_more(tmp_path):
    out = results(tmp_path, SCORES)
    edit(out, lambda line: line["regions"] and line["regions"][0].update(mean=0.25, mm2=1.5, later="more"))
    assert subject(out).images[1].regions == [{"area": 12, "box": [3, 5, 4, 3], "peak": 0.55, "mean": 0.25, "mm2": 1.5}]


def edit(out, change):
    """Let a function change each line of the results."""
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for line in lines:
        change(line)
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_is_no_folder_of_results(tmp_path):
    refused(lambda: read_results(tmp_path / "none"), str(tmp_path / "none"), "no such folder", "blemish predict")
    refused(lambda: read_results(paint(tmp_path / "a.png")), "no such folder")
    refused(
        lambda: read_results(tmp_path), "holds no results.jsonl; expected a folder that blemish predict has written"
    )


def test_results_of_an_earlier_version(tmp_path):
    out = results(tmp_path, SCORES)
    (out / "model.json").unlink()
    refused(lambda: read_results(out), "holds no model.json: an earlier version has made it; run blemish predict again")


def test_results_without_images(tmp_path):
    refused(lambda: read_results(results(tmp_path, {})), "results: holds no images")
    failed = results(tmp_path, {}, failures=[("a.png", "empty file"), ("b.png", "empty file")])
    refused(lambda: read_results(failed), "none of its 2 images could be used")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{", "line 1 is damaged: not valid JSON"),
        (b"[]", "line 1 is damaged: not a JSON object"),
        (b"\xff", "line 1 is damaged: not UTF-8 at byte 0"),
        (b'{"path": "a.png"}', "line 1 is damaged: field score: Field required"),
        (b'{"path": "a.png", "error": 3}', "line 1 is damaged: field error: "),
    ],
)
def test_damaged_lines(tmp_path, text, expected):
    out = results(tmp_path, SCORES)
    (out / "results.jsonl").write_bytes(text)
    refused(lambda: read_results(out), "results.jsonl", expected)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("score", float("nan"), "field score"),
        ("score", "high", "field score"),
        ("verdict", "MAYBE", "field verdict"),
        ("regions", [{"area": 0, "box": [0, 0, 1, 1], "peak": 0.5}], "field regions.0.area"),
        ("regions", [{"area": 1, "box": [0, 0, 1], "peak": 0.5}], "field regions.0.box"),
        ("thresholds", {"review": 0.4, "ng": 0.5}, "field thresholds: not those of model.json"),
        ("path", "", "field path"),
    ],
)
def test_damaged_fields(tmp_path, field, value, expected):
    out = results(tmp_path, SCORES)
    edit(out, lambda line: line.update({field: value}))
    refused(lambda: read_results(out), "line 1 is damaged", expected)


@pytest.mark.parametrize("overlay", ["../secret.png", "/etc/passwd", "", "overlays/../../x.png", "a\0b.png"])
def test_overlays_elsewhere_are_refused(tmp_path, overlay):
    paint(tmp_path / "secret.png")
    out = results(tmp_path, SCORES)
    edit(out, lambda line: line.update(overlay=overlay))
    refused(lambda: read_results(out), "lies outside of the results")


def test_an_overlay_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    out = results(tmp_path, SCORES)
    (out / "overlays" / "1.png").unlink()
    os.symlink(paint(tmp_path / "secret.png"), out / "overlays" / "1.png")
    refused(lambda: read_results(out), "path escapes dataset root")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text[:-9], "is damaged: not valid JSON"),
        (lambda text: text.replace('"sha256":"b', '"sha256":"x', 1), "is damaged: field sha256"),
        (lambda text: text.replace('"review":0.3', '"review":-1'), "is damaged: field header.calibration.review"),
        (lambda text: text.replace('"schema_version":', '"schema_version":9'), "made by a newer version"),
        (lambda text: "", "is damaged: not valid JSON"),
    ],
)
def test_damaged_model_json(tmp_path, change, expected):
    out = results(tmp_path, SCORES)
    text = (out / "model.json").read_text()
    assert change(text) != text
    (out / "model.json").write_text(change(text))
    refused(lambda: read_results(out), "model.json", expected)


def test_strangers_are_named_with_what_to_do(tmp_path):
    (one,) = subject(results(tmp_path, SCORES, model=header())).strangers
    assert one.name == "a.png"
    assert one.text == "a.png scores 0.5000, far above the other held-out images, and alone sets a threshold."
    assert (one.picture, one.overlay) == (None, None)


def test_an_error_is_an_input_error(tmp_path):
    with pytest.raises(InputError) as caught:
        read_results(tmp_path)
    assert caught.value.exit_code == 2
