"""The header of a model file: every field is checked, and a wrong one is named."""

import base64

import pytest
from pydantic import ValidationError

from blemish.model.header import Header
from blemish.version import __version__
from modelfiles import (
    CALIBRATION,
    EARLIER,
    FIELDS,
    OLD_CALIBRATION,
    SMALL,
    changed,
    message,
    packed,
    path,  # noqa: F401
)


def test_newer_file_is_named_even_if_nothing_else_in_it_is_known(path):
    text = f"made by newer version 9.1, this is {__version__}"
    assert message(path, packed({"schema_version": 4, "blemish": "9.1", "new": {"fields": 1}})) == text
    assert message(path, packed({**FIELDS, "schema_version": 9, "blemish": "9.1"})) == text
    signed_otherwise = packed({"schema_version": 4, "blemish": "9.1"}).replace(b'"sha256":"', b'"sha999":"')
    assert message(path, signed_otherwise) == text
    hostile = packed({"schema_version": 4, "blemish": "\ud800\n" * 1000})
    assert message(path, hostile).startswith("made by newer version \\ud800\\n")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("schema_version", 0, "Input should be greater than or equal to 1, got 0"),
        ("schema_version", True, "Input should be a valid integer, got True"),
        ("schema_version", 2.0, "Input should be a valid integer, got 2.0"),
        ("calibration.review", ..., "Field required"),
        ("calibration.review", -0.5, "Input should be greater than 0, got -0.5"),
        ("calibration.review", 0.0, "Input should be greater than 0, got 0.0"),
        ("calibration.review", float("nan"), "Input should be a finite number, got nan"),
        ("calibration.review", float("inf"), "Input should be a finite number, got inf"),
        ("calibration.review", None, "Input should be a valid number"),
        ("calibration.review", "0.5", "Input should be a valid number, got '0.5'"),
        ("calibration.review", True, "Input should be a valid number, got True"),
        ("calibration.ng", 0.25, "must not be below review, 0.5, got 0.25"),
        ("calibration.ng", float("nan"), "Input should be a finite number, got nan"),
        ("calibration.ng", "0.75", "Input should be a valid number, got '0.75'"),
        ("calibration.asked", [0.5, 0.2, 0.1], "List should have at most 2 items after validation, not 3"),
        ("calibration.asked", [None], None),
        ("calibration.held_out", 3, "Input should be a valid array, got 3"),
        ("calibration.held_out.0.score", -0.125, "Input should be greater than or equal to 0, got -0.125"),
        ("calibration.held_out.1.score", float("nan"), "Input should be a finite number, got nan"),
        ("calibration.held_out.2.sha256", "x", "String should match pattern"),
        ("calibration.held_out.0.name", ..., "Field required"),
        ("calibration.held_out.0.group", None, "Input should be a valid string"),
        ("calibration.threshold", 0.5, "Extra inputs are not permitted, got 0.5"),
        ("calibration", CALIBRATION | {"limit": -0.5}, "limit must be above good, got -0.5 and -0.5"),
        ("calibration", CALIBRATION | {"good": 3.0}, "limit must be above good, got 2.5 and 3"),
        ("seed", -1, "Input should be greater than or equal to 0, got -1"),
        ("seed", 1 << 32, "Input should be less than 4294967296, got 4294967296"),
        ("modules", [], "List should have at least 1 item after validation, not 0"),
        ("modules", FIELDS["modules"][:1], "weights must sum to 1, got 0.25"),
        ("modules", [{"size": 128, "level": 3, "weight": 0.5}] * 2, "names must be unique, got 128/3, 128/3"),
        ("modules", [{"size": 64, "level": 3, "weight": 1.0}], "every size must be one of sizes, got 64/3"),
        ("modules.0.memory", {"levels": [4, 3], "vectors": 9}, "levels must ascend to"),
        ("modules.0.memory", {"levels": [5], "vectors": 9}, "levels must ascend to"),
        ("modules.0.memory", {"levels": [], "vectors": 9}, None),
        ("modules.0.cell", 3, "must divide the positions of a side, got 3"),
        ("modules.0.cell", -1, "Input should be greater than or equal to 0, got -1"),
        ("modules.0.memory", {"levels": [3], "vectors": 0}, None),
        ("sizes", [], "List should have at least 1 item after validation, not 0"),
        ("reference_size", 0, "Input should be greater than or equal to 64, got 0"),
        ("reference_size", 64, "must be one of sizes, 128, 256, got 64"),
        ("score", "max", "Input should be 'paper', 'whitened' or 'memory', got 'max'"),
        ("created", "yesterday", "String should match pattern"),
        ("teacher.sha256", "A" * 64, "String should match pattern"),
        ("teacher.nam", "x", "Extra inputs are not permitted, got 'x'"),
        ("lerning_rate", 1, "Extra inputs are not permitted, got 1"),
        ("libraries", {"torch": 2}, None),
        ("recipe", {"lr": float("nan")}, None),
        ("recipe", {"lr": {"nested": 1}}, None),
        ("data.train", ["0"], None),
        ("data.train", [{"sha256": "b" * 64}], None),
        ("data.train.0.thumbnail", "00" * 255, "String should match pattern"),
        ("data.tested.0.thumbnail", "FF" * 256, "String should match pattern"),
        ("data.held_out", ..., "Field required"),
        ("data.weighed", 3, "Input should be a valid array, got 3"),
        ("weighing.defective", 6, "at most the 5 labelled images can be defective, got 6"),
        ("weighing.labelled", 0, "Input should be greater than or equal to 1, got 0"),
        ("weighing.modules", 0, "Input should be greater than or equal to 1, got 0"),
        ("weighing.seconds", -1.0, "Input should be greater than or equal to 0, got -1.0"),
        ("modules", [{"size": 128, "level": 1, "weight": 1.0}], None),
        ("modules", [{"size": 128, "level": 9, "weight": 1.0}], None),
        ("sizes", [1 << 20], None),
        ("sizes", [100], None),
        ("modules", [{"size": 128, "level": 2, "weight": -1.0}, {"size": 256, "level": 2, "weight": 2.0}], None),
    ],
)
def test_header_fields_are_named(path, place, value, reason):
    fields = changed(place, value)
    said = message(path, packed(fields))
    assert said.startswith(f"header field {place}")
    if reason is not None:
        assert said.startswith(f"header field {place}: {reason}")
    with pytest.raises(ValidationError):
        Header.model_validate(fields)


def test_only_a_model_with_a_memory_speaks_of_one_and_names_it():
    header = Header.model_validate(FIELDS)
    assert all("memory" not in module for module in header.model_dump()["modules"])
    size, level = header.modules[0].size, header.modules[0].level
    memory = {"levels": [level - 1, level], "vectors": 9} if level > 2 else {"levels": [level], "vectors": 9}
    fields = changed("modules.0.memory", memory)
    found = Header.model_validate(fields)
    assert found.modules[0].name == f"{size}/m{'+'.join(map(str, memory['levels']))}"
    assert found.model_dump()["modules"][0]["memory"] == memory


def test_weights_may_miss_one_by_a_millionth():
    for miss, allowed in [(0.9e-6, True), (-0.9e-6, True), (1.1e-6, False), (-1.1e-6, False)]:
        fields = changed("modules", [{"size": 128, "level": 3, "weight": 1 + miss}])
        if allowed:
            assert Header.model_validate(fields).modules[0].weight == 1 + miss
        else:
            with pytest.raises(ValidationError, match="weights must sum to 1"):
                Header.model_validate(fields)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("review", -0.5, "Input should be greater than 0, got -0.5"),
        ("earlier.held_out", 0, "Input should be greater than or equal to 1, got 0"),
        ("earlier.held_out", 1.0, "Input should be a valid integer, got 1.0"),
        ("earlier.held_out", ..., "Field required"),
        ("earlier.false_alarm_rate", 0.0, "Input should be greater than 0, got 0.0"),
        ("earlier.false_alarm_rate", 1.5, "Input should be less than or equal to 1, got 1.5"),
        *(
            (
                "earlier.false_alarm_rate",
                rate,
                f"3 held-out images can promise multiples of 1/4 below 1 only, got {rate}",
            )
            for rate in (1.0, 0.3, 0.01)
        ),
        ("thresold", 0.5, "Extra inputs are not permitted, got 0.5"),
    ],
)
def test_what_earlier_versions_said_of_their_threshold_is_checked(path, version, place, value, reason):
    old = {"review": "threshold", "earlier.held_out": "held_out", "earlier.false_alarm_rate": "false_alarm_rate"}
    fields = changed(f"calibration.{old.get(place, place)}", value, of=EARLIER | {"schema_version": version})
    assert message(path, packed(fields)).startswith(f"header field calibration.{place}: {reason}")


def test_an_earlier_header_without_a_threshold_is_refused(path):
    fields = changed("calibration.threshold", ..., of=EARLIER)
    assert message(path, packed(fields)).startswith("header field calibration")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("score", "threshold"), [("whitened", 0.5), ("paper", 0.125)])
def test_an_earlier_header_keeps_its_scale_and_its_only_threshold(version, score, threshold):
    calibration = OLD_CALIBRATION | {"threshold": threshold}
    header = Header.model_validate(EARLIER | {"schema_version": version, "score": score, "calibration": calibration})
    found = header.calibration
    assert (header.schema_version, found.review, found.ng, found.held_out, found.asked) == (3, threshold, None, [], [])
    assert (header.scale.good, header.scale.limit) == (-0.5, 2.5)
    assert (found.earlier.held_out, found.earlier.false_alarm_rate) == (3, 0.25)
    assert [found.thresholds.verdict(one) for one in (threshold, threshold + 1e-9)] == ["OK", "NG"]
    assert Header.model_validate(header.model_dump()) == header


def test_every_rate_that_an_earlier_version_gave_is_allowed():
    for count in (*range(1, 400), 10_000, 123_457):
        rank = min(-(-(count + 1) * 99 // 100), count)  # the threshold was the highest score that promised 1 %
        rate = (count + 1 - rank) / (count + 1)
        fields = changed("calibration", OLD_CALIBRATION | {"held_out": count, "false_alarm_rate": rate}, of=EARLIER)
        assert Header.model_validate(fields).calibration.earlier.false_alarm_rate == rate


def test_a_paper_score_is_not_squashed_and_has_no_limit_above_good():
    fields = changed("score", "paper") | {"calibration": CALIBRATION | {"review": 0.125, "limit": -1.0}}
    assert Header.model_validate(fields).calibration.review == 0.125


def test_an_older_header_met_no_labels():
    header = Header.model_validate(SMALL)
    assert (header.weighing, header.data.weighed, header.data.tested) == (None, [], [])
    with pytest.raises(ValidationError, match="2 modules cannot be kept of 1"):
        Header.model_validate(changed("weighing.modules", 1))


def test_a_region_of_interest_has_the_reference_size(path):
    bits = base64.b64encode(b"\xff" * (128 * 128 // 8)).decode()
    said = message(path, packed({**FIELDS, "roi": {"bits": bits}}))
    assert said == "header field roi: bits must be those of 256 x 256 pixels, the reference size"
    said = message(path, packed({**FIELDS, "roi": {"bits": bits, "hight": 3}}))
    assert said == "header field roi.hight: Extra inputs are not permitted, got 3"
    good = base64.b64encode(b"\x0f" * (256 * 256 // 8)).decode()
    header = Header.model_validate({**FIELDS, "roi": {"bits": good}})
    assert header.roi.share == 0.5
    assert header.counted(256, 256)[7, :16].tolist() == [False, False, False, False, True, True, True, True] * 2
