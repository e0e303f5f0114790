import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import skops.io as sio
from hypothesis import given, settings
from hypothesis import strategies as st

from wafer_assets.domain.clustering import Elbow
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.persistence import FORMAT, NewerFormat, NotAnObject, UntrustedObject, dump, load
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import FaultModel, fit_members, fit_preprocessor

TABLE = simulate_table(250, seed=3, fault_rate=0.2)
READINGS, FAULTY = sensor_readings(TABLE), TABLE["faulty"].to_numpy(dtype=int)
CONFIG = ModelConfig(k=2, folds=2, n_sensors=10, xgboost_trees=5, forest_trees=5)


class FromElsewhere:
    pass


def test_a_fault_model_predicts_bit_identically_after_a_round_trip() -> None:
    model = FaultModel(CONFIG).fit(READINGS, FAULTY)
    loaded = load(dump(model))

    assert isinstance(loaded, FaultModel)
    np.testing.assert_array_equal(loaded.predict_proba(READINGS), model.predict_proba(READINGS))
    np.testing.assert_array_equal(loaded.predict(READINGS), model.predict(READINGS))
    assert loaded.config == CONFIG


def test_every_piece_between_two_steps_can_be_stored() -> None:
    preprocessor = fit_preprocessor(READINGS, CONFIG)
    features = preprocessor.transform(READINGS)
    group = fit_members(features, FAULTY, CONFIG)
    found = Elbow((1, 2, 3), (9.0, 4.0, 3.0), 2, is_knee=True)

    (loaded,) = load(dump([group]))  # type: ignore[misc]
    again = load(dump(preprocessor)).transform(READINGS)  # type: ignore[attr-defined]

    assert load(dump(found)) == found
    assert again.equals(features)
    for member, margins in group.out_of_fold.items():
        np.testing.assert_array_equal(loaded.out_of_fold[member], margins)


def test_what_could_not_be_loaded_is_not_stored() -> None:
    with pytest.raises(UntrustedObject, match="FromElsewhere"):
        dump(FromElsewhere())


def test_a_file_with_an_unknown_type_is_refused_and_nothing_is_built() -> None:
    with pytest.raises(UntrustedObject, match="FromElsewhere"):
        load(sio.dumps([1, FromElsewhere()]))


def test_a_pickle_is_refused_without_being_read() -> None:
    with pytest.raises(NotAnObject):
        load(pickle.dumps(FromElsewhere()))


@pytest.mark.parametrize("schema", ["{}", "[]", "no json", '{"__module__": "os", "__class__": "system"}'])
def test_an_archive_of_something_else_is_refused(schema: str) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("schema.json", schema)

    with pytest.raises((NotAnObject, UntrustedObject)):
        load(content.getvalue())


def archive(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for name, data in files.items():
            zipped.writestr(name.replace("_json", ".json"), data)
    return content.getvalue()


def claiming(size: int) -> bytes:
    """A file that says of its content that it is small, and holds more."""
    data = bytearray(archive(schema_json=b"[" + b"1," * 20_000_000 + b"1]"))
    start = data.rindex(b"PK\x01\x02")
    data[start + 24 : start + 28] = size.to_bytes(4, "little")
    return bytes(data)


BOMBS = {
    "zeros": lambda: archive(schema_json=b"{}", big=bytes(300_000_000)),
    "a long list": lambda: archive(schema_json=b"[" + b"1," * 30_000_000 + b"1]"),
    "many lists": lambda: archive(schema_json=b"[" + b"[]," * 3_000_000 + b"1]"),
    "many lists that do not shrink": lambda: archive(
        schema_json=b"[" + b"[]," * 400_000 + b"1]", noise=np.random.default_rng(0).bytes(200_000)
    ),
    "deep lists": lambda: archive(schema_json=b"[" * 100_000 + b"]" * 100_000),
    "deep objects": lambda: archive(
        schema_json=b'{"__loader__": "ListNode", "__class__": "list", "__module__": "builtins", "content": [' * 900
        + b"]}" * 900
    ),
    "a claim to be small": lambda: claiming(2),
    "many files": lambda: archive(**{f"f{number}": b"" for number in range(5_000)}),
    "a long number": lambda: archive(schema_json=b"1" * 5_000),
    "a format that is no number": lambda: archive(schema_json=b"{}", format=b"one"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_is_made_to_take_all_memory_is_refused_before_it_does(name: str) -> None:
    content = BOMBS[name]()
    assert len(content) < 5_000_000
    tracemalloc.start()
    try:
        with pytest.raises(NotAnObject):
            load(content)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_an_array_that_claims_more_than_the_file_has_is_refused() -> None:
    good = sio.dumps(np.arange(8.0))
    with zipfile.ZipFile(io.BytesIO(good)) as read:
        files = {name: read.read(name) for name in read.namelist()}
    (array,) = [name for name in files if name.endswith(".npy")]
    files[array] = files[array].replace(b"(8,)", b"(" + b"9" * 12 + b",)")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for name, data in files.items():
            written.writestr(name, data)
    with pytest.raises(NotAnObject):
        load(content.getvalue())


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_damaged_bytes_are_refused_by_name_or_give_the_same_object(cut: int, byte: int) -> None:
    found = Elbow((1, 2, 3), (9.0, 4.0, 3.0), 2, is_knee=True)
    data = bytearray(dump(found))
    data[cut % len(data)] = byte

    for damaged in (bytes(data), bytes(data[: cut % len(data)])):
        try:
            loaded = load(damaged)
        except (NotAnObject, UntrustedObject):
            continue
        assert loaded == found


def test_a_file_without_a_format_number_is_of_the_first_format() -> None:
    found = Elbow((1, 2, 3), (9.0, 4.0, 3.0), 2, is_knee=True)
    assert load(sio.dumps(found)) == found


def test_a_file_of_a_newer_platform_says_so_and_nothing_is_built() -> None:
    content = io.BytesIO(sio.dumps(FromElsewhere()))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("format", str(FORMAT + 1))

    with pytest.raises(NewerFormat, match=f"has format {FORMAT + 1}.*upgrade"):
        load(content.getvalue())
