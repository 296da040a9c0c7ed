"""Model files: what is saved is loaded bit by bit, and no changed bit goes unseen."""

import json
import os
import stat
from hashlib import sha256

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open

from blemish.errors import InputError, ModelFileError, StorageError
from blemish.model.file import load, save
from blemish.model.header import Header
from blemish.storage.tensors import check_tensors
from modelfiles import (
    FIELDS,
    SMALL,
    TENSORS,
    WHOLE,
    entry,
    message,
    packed,
    path,  # noqa: F401
)


def test_saved_and_loaded_are_equal_bit_by_bit(path):
    save(path, Header.model_validate(FIELDS), TENSORS)
    header, tensors = load(path)
    assert header.model_dump() == WHOLE
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
    assert json.loads(metadata["blemish"]) == WHOLE
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


def test_save_checks_what_escaped_the_checks_on_creation(path):
    header = Header.model_validate(FIELDS)
    with pytest.raises(ValidationError, match="frozen"):
        header.seed = 3
    calibration = header.calibration.model_copy(update={"review": float("nan")})
    for wrong in (
        header.model_copy(update={"calibration": calibration}),
        header.model_copy(update={"modules": header.modules[:1]}),
    ):
        with pytest.raises(ModelFileError, match=r"model: header field (calibration\.review|modules): "):
            save(path, wrong, TENSORS)
        assert not path.exists()


def test_a_file_that_is_there_is_not_replaced_unless_told(path):
    header = Header.model_validate(FIELDS)
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"model: exists; pass --overwrite to replace it$"):
        save(path, header, TENSORS, overwrite=False)
    assert path.read_bytes() == b"mine"
    save(path, header, TENSORS)
    assert load(path)[0] == header


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
