"""Model files that are damaged, foreign or made with intent: one line each, and never a surprise."""

import io
import json
import os
import pickle
import random
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as save_foreign

from blemish.errors import InputError, ModelFileError
from blemish.model.file import load, save
from blemish.model.header import Header
from modelfiles import (
    FIELDS,
    SMALL,
    entry,
    message,
    packed,
    path,  # noqa: F401
    replace,
    signed,
)

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


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{\n  "bundle_version": 1' + b" " * 4000, "a text file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a picture"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "a picture"),
    ],
)
def test_what_is_no_model_at_all_is_named(path, data, kind):
    assert message(path, data) == f"{kind}, not a model; expected a file that blemish fit has written"


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
        assert message(path, pickle.dumps(Payload(canary), protocol)).startswith(
            ("model file is damaged: header of ", "a text file, not a model; ")
        )
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
