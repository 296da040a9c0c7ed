import io
import json
import os
import pickle
import random
import stat
import time
import zipfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.numpy import save as save_foreign

from blemish.data.records import ImagePart
from blemish.errors import InputError, ModelFileError, StorageError
from blemish.model.file import load, record_tested, save
from blemish.model.header import Header
from blemish.storage.tensors import check_tensors
from blemish.verdict.threshold import threshold
from blemish.version import __version__

FIELDS = {
    "schema_version": 1,
    "blemish": "0.1.0",
    "created": "2026-01-02T03:04:05Z",
    "teacher": {"name": "t", "sha256": "a" * 64, "embedded": False},
    "preprocessing": {"resize": "pillow bilinear", "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.125, 1.0]},
    "sizes": [128, 256],
    "reference_size": 256,
    "modules": [{"size": 128, "level": 3, "weight": 0.25}, {"size": 256, "level": 3, "weight": 0.75}],
    "recipe": {"name": "fast", "lr": 1.0, "steps": 3, "crop": True, "stop": None, "levels": [2, 3.5, "x", False]},
    "seed": 0,
    "score": "whitened",
    "calibration": {"held_out": 3, "threshold": 0.5, "false_alarm_rate": 0.25, "good": -0.5, "limit": 2.5},
    "weighing": {"objective": "paper", "labelled": 5, "defective": 2, "modules": 9, "seconds": 0.5},
    "data": {
        "train": [{"sha256": "b" * 64, "thumbnail": "00ff" * 128}],
        "held_out": [],
        "weighed": [],
        "tested": [{"sha256": "c" * 64, "thumbnail": "80" * 256}],
    },
    "libraries": {"torch": "2.6"},
}
CALIBRATION = FIELDS["calibration"]
TENSORS = {
    "256/3.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "128/3.bias": np.array([-0.0, 1e-40, 3.4e38], np.float32),
    "scalar": np.array(2.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
    "large": np.linspace(-1, 1, 1000, dtype=np.float32),
}
SMALL = {**FIELDS, "modules": [{"size": 128, "level": 2, "weight": 1.0}], "recipe": {}, "libraries": {}}
SMALL["data"] = {"train": [], "held_out": []}
del SMALL["weighing"]


def signed(head: bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of this head and body whose digest, written by a plain second implementation, is right."""
    data = (len(head) if length is None else length).to_bytes(8, "little") + head + body
    place = 8 + len('{"__metadata__":{"sha256":"')
    zeroed = data[:place] + b"0" * 64 + data[place + 64 :]
    return data[:place] + sha256(zeroed).hexdigest().encode() + data[place + 64 :]


def packed(fields: object, entries: dict | None = None, body: bytes = b"") -> bytes:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    head = {"__metadata__": {"sha256": "0" * 64, "blemish": text}, **(entries or {})}
    return signed(json.dumps(head, separators=(",", ":")).encode(), body)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # some file systems wait for the disk when a file is written over
    path.write_bytes(data)


def message(path: Path, data: bytes | None = None) -> str:
    """What load says about this content, checked to be one line that starts with the file's name."""
    if data is not None:
        replace(path, data)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    name, text = str(caught.value)[: len(str(path))], str(caught.value)[len(str(path)) + 2 :]
    assert name == str(path)
    assert text.isprintable()
    assert len(text) <= 300
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def test_saved_and_loaded_are_equal_bit_by_bit(path):
    save(path, Header.model_validate(FIELDS), TENSORS)
    header, tensors = load(path)
    assert header.model_dump() == FIELDS
    assert [type(value) for value in header.recipe.values()] == [str, float, int, bool, type(None), list]
    assert [type(value) for value in header.recipe["levels"]] == [int, float, str, bool]
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == np.float32
        assert tensors[name].shape == tensor.shape
        assert tensors[name].tobytes() == tensor.tobytes()
        assert tensors[name].flags.writeable


def test_array_order_and_memory_layout_do_not_matter(path):
    weight = TENSORS["256/3.weight"]
    save(path, Header.model_validate(FIELDS), {"a": weight.T, "b": weight[:, ::-1], "c": weight})
    _, tensors = load(path)
    np.testing.assert_array_equal(tensors["a"], weight.T)
    np.testing.assert_array_equal(tensors["b"], weight[:, ::-1])
    first = path.read_bytes()
    save(path, Header.model_validate(FIELDS), {"c": weight, "b": weight[:, ::-1].copy(), "a": weight.T.copy()})
    assert path.read_bytes() == first


def test_the_safetensors_library_reads_it_and_a_person_too(path):
    save(path, Header.model_validate(FIELDS), TENSORS)
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == set(TENSORS)
        np.testing.assert_array_equal(file.get_tensor("256/3.weight"), TENSORS["256/3.weight"])
        metadata = file.metadata()
    assert set(metadata) == {"blemish", "sha256"}
    assert json.loads(metadata["blemish"]) == FIELDS
    data = path.read_bytes()
    digest = metadata["sha256"].encode()
    assert data.count(digest) == 1
    assert sha256(data.replace(digest, b"0" * 64)).hexdigest().encode() == digest
    assert int.from_bytes(data[:8], "little") % 8 == 0  # float32 data are aligned


def test_loads_a_file_written_by_other_hands(path):
    body = np.array([1.5, -2.0], np.float32).tobytes()
    path.write_bytes(packed(FIELDS, {"x": entry([2, 1], 0, 8)}, body))
    header, tensors = load(path)
    assert header == Header.model_validate(FIELDS)
    np.testing.assert_array_equal(tensors["x"], [[1.5], [-2.0]])


def test_is_written_atomically(path, monkeypatch):
    save(path, Header.model_validate(FIELDS), TENSORS)
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600

    def broken(_source, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(StorageError, match=r"^disk full: .*model needs \d+ bytes$"):
        save(path, Header.model_validate(SMALL), TENSORS)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model"]


def test_every_flipped_bit_is_found(path):
    save(path, Header.model_validate(SMALL), {"x": np.array([0.5], np.float32)})
    data = bytearray(path.read_bytes())
    with open(path, "r+b", buffering=0) as file:
        for bit in range(8 * len(data)):
            place, value = bit // 8, data[bit // 8] ^ (1 << bit % 8)
            file.seek(place)
            file.write(bytes([value]))
            with pytest.raises(ModelFileError):
                load(path)
            file.seek(place)
            file.write(data[place : place + 1])
    assert load(path)[1]["x"] == 0.5


def test_every_truncation_is_found(path):
    save(path, Header.model_validate(SMALL), {"x": np.array([0.5], np.float32)})
    data = path.read_bytes()
    for length in range(len(data) - 1, -1, -1):
        os.truncate(path, length)
        assert message(path).startswith("model file is damaged: ")


def test_checksum_covers_tensors_header_and_the_digest_itself(path):
    good = packed(SMALL, {"x": entry([1], 0, 4)}, b"\0\0\0\0")
    for place in (len(good) - 1, good.index(b"128"), 8 + len('{"__metadata__":{"sha256":"') + 63):
        for other in b"21":
            changed = bytes([other]) if good[place] != other else b"3"
            data = good[:place] + changed + good[place + 1 :]
            assert message(path, data) == "model file is damaged: checksum mismatch"


def test_digest_is_compared_digit_by_digit_without_regard_to_the_number_it_stands_for(path):
    good = packed(SMALL)
    place = slice(8 + len('{"__metadata__":{"sha256":"'), 8 + len('{"__metadata__":{"sha256":"') + 64)
    data = good[: place.start] + good[place].upper() + good[place.stop :]
    assert message(path, data) == "model file is damaged: checksum mismatch"


X = json.dumps(entry([1], 0, 4)).encode()
START = b'{"__metadata__":{"sha256":"' + b"0" * 64 + b'","blemish":' + json.dumps(json.dumps(SMALL)).encode() + b"}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"1234567", "shorter than 8 bytes"),
        (bytes(8), "header is not valid JSON: Expecting value"),
        (signed(START + b"}", length=1 << 20), "header of 1048576 bytes in a file of"),
        (signed(START + b"}", length=1 << 63), "header of 9223372036854775808 bytes in a file of"),
        (signed(START + b"}", length=(1 << 64) - 1), "header of 18446744073709551615 bytes in a file of"),
        (signed(b'{"\xff":1}'), "header is not UTF-8 at byte 2"),
        (signed(START), "header is not valid JSON: Expecting ',' delimiter"),
        (signed(START + b"]"), "header is not valid JSON"),
        (signed(b"[1]"), "header is not a JSON object"),
        (signed(START + b',"x":' + b"[" * 200_000 + b"}"), "header is nested too deeply"),
        (signed(START + b',"x":' + X + b',"x":' + X + b"}", bytes(4)), "header is not valid JSON: duplicate key x"),
        (signed(START[:-1] + b',"blemish":"{}"}}'), "header is not valid JSON: duplicate key blemish"),
        (packed('{"seed":1,"seed":1}'), "header is not valid JSON: duplicate key seed"),
        (packed('{"seed":1'), "header is not valid JSON: Expecting ',' delimiter"),
        (packed('{"seed":' + "1" * 5000 + "}"), "header is not valid JSON: Exceeds the limit"),
        (packed("3"), "header is not a JSON object"),
        (packed("[" * 200_000), "header is nested too deeply"),
        (packed(SMALL, {"x": entry([1], 0, 4), "y": entry([1], 2, 6)}, bytes(6)), "invalid offset for tensor `y`"),
        (packed(SMALL, {"x": entry([1], 0, 4), "y": entry([1], 8, 12)}, bytes(12)), "invalid offset for tensor `y`"),
        (packed(SMALL, {"x": entry([1], 4, 0)}, bytes(4)), "invalid offset for tensor `x`"),
        (packed(SMALL, {"x": entry([1], 0, 4)}, bytes(5)), "incomplete metadata, file not fully covered"),
        (packed(SMALL, {"x": entry([1], 0, 4)}, bytes(3)), "incomplete metadata, file not fully covered"),
        (packed(SMALL, {"x": entry([2], 0, 4)}, bytes(4)), "invalid shape, data type, or offset"),
        (packed(SMALL, {"x": entry([1], 0, 4, "F64")}, bytes(4)), "invalid shape, data type, or offset"),
        (packed(SMALL, {"x": entry([2**63, 2**63], 0, 4)}, bytes(4)), "overflow"),
        (packed(SMALL, {"x": entry([-1], 0, 4)}, bytes(4)), "invalid JSON in header"),
        (packed(SMALL, {"x": entry([1], 0, 4, "F31")}, bytes(4)), "invalid JSON in header: unknown variant `F31`"),
        (packed(SMALL, {"x": entry([2], 0, 4, "BF16")}, bytes(4)), "tensors must be F32, found BF16"),
        (packed(SMALL, {"x": 3}), "invalid JSON in header"),
        (packed(SMALL, {"a\n" * 500: entry([1], 0, 9)}, bytes(9)), "invalid shape, data type, or offset"),
    ],
)
def test_damaged_files(path, data, reason):
    assert message(path, data).startswith(f"model file is damaged: {reason}")


def test_header_over_the_limit_is_refused_before_it_is_read(path):
    with open(path, "wb") as file:
        file.write((101_000_000).to_bytes(8, "little") + b"{")
        file.truncate(200_000_000)  # sparse: it takes no space
    started = time.monotonic()
    limit = "header of 101000000 bytes in a file of 200000000, at most 100000000 are allowed"
    assert message(path) == f"model file is damaged: {limit}"
    assert time.monotonic() - started < 0.1


@pytest.mark.parametrize(
    "data",
    [
        save_foreign({"x": np.zeros(2, np.float32)}),
        save_foreign({"x": np.zeros(2, np.float32)}, {"format": "pt", "sha256": "0" * 64}),
        b'\x15\0\0\0\0\0\0\0{"__metadata__":null}',
        b"\x02\0\0\0\0\0\0\0{}",
    ],
)
def test_foreign_safetensors(path, data):
    assert message(path, data) == "not a blemish model; expected a file that blemish fit has written"


def test_foreign_file_is_refused_without_reading_its_tensors(path):
    head = json.dumps({"x": entry([1 << 40], 0, 1 << 42)}).encode()
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + (1 << 42))  # four sparse terabytes
    assert message(path).startswith("not a blemish model")


class Payload:
    """Unpickling it creates a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def test_pickles_are_refused_and_never_run(path, tmp_path):
    canary = tmp_path / "canary"
    refused = "pickle files are never loaded; expected a blemish model (safetensors)"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert message(path, pickle.dumps(Payload(canary), protocol)) == refused
    for protocol in range(2):  # these are plain text without a mark
        assert message(path, pickle.dumps(Payload(canary), protocol)).startswith("model file is damaged: header of ")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Payload(canary)))  # what torch.save writes
    assert message(path, archive.getvalue()) == refused
    arrays = io.BytesIO()
    np.savez(arrays, x=np.array([Payload(canary)], object), allow_pickle=True)
    assert message(path, arrays.getvalue()) == refused
    assert message(path, b"PK\x05\x06" + bytes(18)) == refused  # an empty archive
    assert not canary.exists()
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists()  # the payload works


def test_sound_header_whose_length_looks_like_a_pickle_is_loaded(path):
    for length in (0x80 + 256 * protocol for protocol in range(5, 8)):
        room = length - len(packed({**SMALL, "blemish": ""})) + 8
        path.write_bytes(packed({**SMALL, "blemish": "x" * room}))
        assert path.read_bytes()[:2] == bytes([0x80, length // 256])
        assert load(path)[0].blemish == "x" * room


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_counted_and_named(path, value):
    bad = {"fine": np.zeros(3, np.float32), "256/3.conv": np.array([[1, value], [value, value]], np.float32)}
    text = "tensor 256/3.conv holds 3 non-finite values"
    with pytest.raises(ModelFileError, match=f": {text}$"):
        save(path, Header.model_validate(SMALL), bad)
    assert not path.exists()
    data = packed(SMALL, {"256/3.conv": entry([4], 0, 16)}, bad["256/3.conv"].tobytes())
    assert message(path, data) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("256/3/spread", 0.0, "above 0"),
        ("256/3/spread", -1.0, "above 0"),
        ("256/3/variance", 0.0, "above 0"),
        ("256/3/student.0.bn1.running_var", -1e-9, None),
        ("teacher/0.1.running_var", -1.0, None),
    ],
)
def test_variances_are_not_below_their_least(path, name, value, text):
    """What a score is divided by; the networks add a little to theirs, so it may be 0."""
    text = f"tensor {name} holds values " + ("that are not above 0" if text else "below 0")
    bad = {name: np.array([1.0, value], np.float32)}
    with pytest.raises(ModelFileError, match=f": {text}$"):
        save(path, Header.model_validate(SMALL), bad)
    assert not path.exists()
    assert message(path, packed(SMALL, {name: entry([2], 0, 8)}, bad[name].tobytes())) == text


def test_other_tensors_may_be_zero_or_below(path):
    tensors = {name: np.array([-1.0, 0.0], np.float32) for name in ("64/2/centre", "64/2/mean", "64/2/student.bn.bias")}
    tensors["64/2/student.bn.running_var"] = np.zeros(1, np.float32)
    save(path, Header.model_validate(SMALL), tensors)
    assert load(path)[1].keys() == tensors.keys()


def test_only_float32(path):
    with pytest.raises(ModelFileError, match=r": tensor x is float64, expected float32$"):
        save(path, Header.model_validate(SMALL), {"x": np.zeros(1)})
    assert not path.exists()
    data = packed(SMALL, {"x": entry([1], 0, 8, "I64")}, bytes(8))
    assert message(path, data) == "tensor x is int64, expected float32"


def test_newer_file_is_named_even_if_nothing_else_in_it_is_known(path):
    text = f"made by newer version 9.1, this is {__version__}"
    assert message(path, packed({"schema_version": 2, "blemish": "9.1", "new": {"fields": 1}})) == text
    assert message(path, packed({**FIELDS, "schema_version": 9, "blemish": "9.1"})) == text
    signed_otherwise = packed({"schema_version": 2, "blemish": "9.1"}).replace(b'"sha256":"', b'"sha999":"')
    assert message(path, signed_otherwise) == text
    hostile = packed({"schema_version": 2, "blemish": "\ud800\n" * 1000})
    assert message(path, hostile).startswith("made by newer version \\ud800\\n")


def changed(place: str, value: object) -> dict:
    fields = json.loads(json.dumps(FIELDS))
    *outer, last = place.split(".")
    part = fields
    for name in outer:
        part = part[int(name)] if isinstance(part, list) else part[name]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return fields


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("schema_version", 0, "Input should be greater than or equal to 1, got 0"),
        ("schema_version", True, "Input should be a valid integer, got True"),
        ("schema_version", 2.0, "Input should be a valid integer, got 2.0"),
        ("calibration.threshold", ..., "Field required"),
        ("calibration.threshold", -0.5, "Input should be greater than 0, got -0.5"),
        ("calibration.threshold", float("nan"), "Input should be a finite number, got nan"),
        ("calibration.threshold", float("inf"), "Input should be a finite number, got inf"),
        ("calibration.threshold", None, "Input should be a valid number"),
        ("calibration.threshold", "0.5", "Input should be a valid number, got '0.5'"),
        ("calibration.threshold", True, "Input should be a valid number, got True"),
        ("calibration.held_out", -1, "Input should be greater than or equal to 1, got -1"),
        ("calibration.held_out", 0, "Input should be greater than or equal to 1, got 0"),
        ("calibration.held_out", 1.0, "Input should be a valid integer, got 1.0"),
        ("calibration.false_alarm_rate", 0.0, "Input should be greater than 0, got 0.0"),
        ("calibration.false_alarm_rate", 1.5, "Input should be less than or equal to 1, got 1.5"),
        ("calibration.false_alarm_rate", 1.0, "3 held-out images can promise multiples of 1/4 below 1 only, got 1.0"),
        ("calibration.false_alarm_rate", 0.3, "3 held-out images can promise multiples of 1/4 below 1 only, got 0.3"),
        ("calibration.false_alarm_rate", 0.01, "3 held-out images can promise multiples of 1/4 below 1 only, got 0.01"),
        ("calibration", CALIBRATION | {"threshold": 0.125}, "threshold of whitened scores must be 0.5, got 0.125"),
        ("calibration", CALIBRATION | {"limit": -0.5}, "limit must be above good, got -0.5 and -0.5"),
        ("calibration", CALIBRATION | {"good": 3.0}, "limit must be above good, got 2.5 and 3"),
        ("seed", -1, "Input should be greater than or equal to 0, got -1"),
        ("seed", 1 << 32, "Input should be less than 4294967296, got 4294967296"),
        ("modules", [], "List should have at least 1 item after validation, not 0"),
        ("modules", FIELDS["modules"][:1], "weights must sum to 1, got 0.25"),
        ("modules", [{"size": 128, "level": 3, "weight": 0.5}] * 2, "names must be unique, got 128/3, 128/3"),
        ("modules", [{"size": 64, "level": 3, "weight": 1.0}], "every size must be one of sizes, got 64/3"),
        ("sizes", [], "List should have at least 1 item after validation, not 0"),
        ("reference_size", 0, "Input should be greater than or equal to 64, got 0"),
        ("reference_size", 64, "must be one of sizes, 128, 256, got 64"),
        ("score", "max", "Input should be 'paper' or 'whitened', got 'max'"),
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
        ("calibration.threshold", 0.0, "Input should be greater than 0, got 0.0"),
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


def test_weights_may_miss_one_by_a_millionth():
    for miss, allowed in [(0.9e-6, True), (-0.9e-6, True), (1.1e-6, False), (-1.1e-6, False)]:
        fields = changed("modules", [{"size": 128, "level": 3, "weight": 1 + miss}])
        if allowed:
            assert Header.model_validate(fields).modules[0].weight == 1 + miss
        else:
            with pytest.raises(ValidationError, match="weights must sum to 1"):
                Header.model_validate(fields)


def test_a_paper_score_has_its_own_threshold_and_is_not_squashed():
    fields = changed("score", "paper") | {"calibration": CALIBRATION | {"threshold": 0.125, "limit": -1.0}}
    assert Header.model_validate(fields).calibration.threshold == 0.125


def test_every_rate_that_a_calibration_gives_is_allowed():
    for count in (*range(1, 400), 10_000, 123_457):
        _, rate = threshold(range(count))
        fields = changed("calibration", CALIBRATION | {"held_out": count, "false_alarm_rate": rate})
        assert Header.model_validate(fields).calibration.false_alarm_rate == rate


def test_save_checks_what_escaped_the_checks_on_creation(path):
    header = Header.model_validate(FIELDS)
    with pytest.raises(ValidationError, match="frozen"):
        header.seed = 3
    calibration = header.calibration.model_copy(update={"threshold": float("nan")})
    for wrong in (
        header.model_copy(update={"calibration": calibration}),
        header.model_copy(update={"modules": header.modules[:1]}),
    ):
        with pytest.raises(ModelFileError, match=r"model: header field (calibration\.threshold|modules): "):
            save(path, wrong, TENSORS)
        assert not path.exists()


def test_an_older_header_met_no_labels():
    header = Header.model_validate(SMALL)
    assert (header.weighing, header.data.weighed, header.data.tested) == (None, [], [])
    with pytest.raises(ValidationError, match="2 modules cannot be kept of 1"):
        Header.model_validate(changed("weighing.modules", 1))


def images(*letters):
    return [ImagePart(sha256=letter * 64, thumbnail="10" * 256) for letter in letters]


def test_tested_images_are_added_and_nothing_else_changes(path, tmp_path):
    header = Header.model_validate(FIELDS)
    save(path, header, TENSORS)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    record_tested(tmp_path / "link", header, images("e", "c", "a", "e"))
    there, tensors = load(path)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [image.sha256[0] for image in there.data.tested] == ["a", "c", "e"]
    assert there.data.tested[0].thumbnail == "10" * 256
    unchanged = there.data.model_copy(update={"tested": header.data.tested})
    assert there.model_copy(update={"data": unchanged}) == header
    assert {name: tensor.tobytes() for name, tensor in tensors.items()} == {
        name: tensor.tobytes() for name, tensor in TENSORS.items()
    }
    before = path.stat().st_ino
    record_tested(path, header, images("a", "c"))  # known already: not written again
    assert path.stat().st_ino == before
    record_tested(path, header, images("f"))  # a header read before the others were added will do
    assert [image.sha256[0] for image in load(path)[0].data.tested] == ["a", "c", "e", "f"]


def test_tested_images_are_not_added_to_another_model_or_to_a_file_not_to_be_written(path, monkeypatch):
    header = Header.model_validate(FIELDS)
    save(path, header.model_copy(update={"seed": 1}), TENSORS)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=r"model: another model has taken its place$"):
        record_tested(path, header, images("a"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match=r"model: cannot be written: permission denied$"):
        record_tested(path, header.model_copy(update={"seed": 1}), images("a"))
    assert path.read_bytes() == before


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in [
        ("missing", "no such file"),
        ("missing/below", "no such file"),
        (".", "not a file; expected a model file (a folder may be a bundle)"),
        ("pipe", "not a file; expected a model file (a folder may be a bundle)"),
        ("a\0b", "cannot be read: embedded null byte"),
        ("x" * 256, "cannot be read: file name too long"),
    ]:
        with pytest.raises(InputError) as caught:
            load(f"{tmp_path}/{name}")
        assert str(caught.value).endswith(f": {reason}")
        assert str(caught.value).isprintable()
    (tmp_path / "model").write_bytes(packed(FIELDS))

    def forbidden(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(InputError, match=r"model: cannot be read: permission denied$"):
        load(tmp_path / "model")


def test_check_tensors():
    expected = {"a": (2, 3), "b": (3,), "c": ()}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in expected.items()}
    check_tensors(tensors, expected, "m")
    for wrong, text in [
        ({"a": tensors["a"], "c": tensors["c"]}, "m: tensor b is missing"),
        ({**tensors, "d": tensors["c"]}, "m: tensor d does not belong to this model"),
        ({**tensors, "a": tensors["a"].T}, "m: tensor a has shape (3, 2), expected (2, 3)"),
        ({**tensors, "c": np.zeros(1, np.float32)}, "m: tensor c has shape (1,), expected ()"),
        ({}, "m: tensor a is missing"),
    ]:
        with pytest.raises(ModelFileError) as caught:
            check_tensors(wrong, expected, "m")
        assert str(caught.value) == text


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        first, second = sorted(chance.randrange(len(changed) + 1) for _ in range(2))
        kind = chance.randrange(5)
        if kind == 0:
            changed[first : first + 1] = chance.randbytes(1)
        elif kind == 1:
            del changed[first : min(second, first + 20)]
        elif kind == 2:
            changed[first:first] = changed[first : min(second, first + 20)]
        elif kind == 3:
            changed[first : first + 8] = chance.choice([bytes(8), b"\xff" * 8, b'"', b"}", b"9" * 20, b"-1", b"1e999"])
        else:
            changed[0:2] = chance.randbytes(2)
    return bytes(changed)


def test_random_damage_gives_only_typed_errors(path):
    chance = random.Random(0)
    good = packed(FIELDS, {"x": entry([2], 0, 8)}, bytes(8))
    for _ in range(400):
        data = mutated(good, chance)
        if data != good:
            message(path, data)
        message(path, chance.randbytes(chance.randrange(200)))


def test_random_damage_under_a_right_digest_gives_only_typed_errors(path):
    chance = random.Random(0)
    good = packed(FIELDS, {"x": entry([2], 0, 8)}, bytes(8))
    head = good[8 : 8 + int.from_bytes(good[:8], "little")]
    loaded = 0
    for _ in range(1000):
        replace(path, signed(mutated(head, chance), bytes(chance.choice([8, 8, 8, 7]))))
        started = time.monotonic()
        with suppress(ModelFileError):
            header, tensors = load(path)
            loaded += 1
            assert header == Header.model_validate(header.model_dump())
            assert all(np.isfinite(tensor).all() for tensor in tensors.values())
        assert time.monotonic() - started < 1
    assert 0 < loaded < 500  # some changes, such as another digit in a threshold, leave a sound file
