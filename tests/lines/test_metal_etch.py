"""The agreement of the metal etch line, in its words, is what its declaration says."""

from pathlib import Path

import numpy as np
import pytest

from schemas.lines import load_lines, read_line
from schemas.loader import BatchSchema
from wafer_assets.domain.contract import Accepted, Refused, check_object, validate

LINES = Path(__file__).parent
LINE = read_line(LINES / "metal_etch")
TRAINING, PREDICTION = BatchSchema.of(LINE, "training"), BatchSchema.of(LINE, "prediction")
NAME = "etch_02032020_101500.csv"


def run(n_wafers: int, *, without_step: str = "", label: str = "0", wafer: str = "L31-{:02}") -> bytes:
    """Return a labelled file, whose first wafers, or all, lack a step."""
    rng = np.random.default_rng(0)
    rows = [",".join(TRAINING.columns)]
    for number in range(1, n_wafers + 1):
        cells = [
            "" if without_step and without_step in sensor else f"{rng.normal(100, 5):.6g}"
            for sensor in TRAINING.sensors
        ]
        rows.append(",".join([wafer.format(number), *cells, label]))
    return "\n".join(rows).encode()


def codes(content: bytes) -> set[str]:
    result = validate(NAME, content, TRAINING)
    return {reason.code for reason in result.reasons} if isinstance(result, Refused) else set()


def test_it_is_beside_the_shipped_line() -> None:
    read = load_lines(LINES)

    assert list(read.lines) == ["metal_etch", "secom"]
    assert read.errors == ()


def test_columns_are_194_with_label_and_193_without() -> None:
    assert (len(TRAINING.columns), len(PREDICTION.columns)) == (194, 193)
    assert len(TRAINING.sensors) == 192
    assert (TRAINING.wafer, TRAINING.label, PREDICTION.label) == ("wafer", "fault", None)
    assert LINE.sensor("step4.duration").unit == "s"
    assert LINE.sensor("TCP_Top_Pwr.step5.mean").unit == "W"
    assert LINE.sensor("He_Press.step4.mean").unit == ""


def test_names_are_those_of_the_line() -> None:
    assert check_object(NAME, 1, TRAINING) == ()
    (reason,) = check_object("wafer_02032020_101500.csv", 1, TRAINING)
    assert "etch_<DDMMYYYY>_<HHMMSS>.csv" in reason.remedy


@pytest.mark.parametrize("n_wafers", [1, 2, 10, 25])
def test_runs_of_the_agreed_sizes_are_accepted(n_wafers: int) -> None:
    result = validate(NAME, run(n_wafers), TRAINING)

    assert isinstance(result, Accepted)
    assert len(result.frame) == n_wafers
    assert result.frame["faulty"].tolist() == [0] * n_wafers


def test_label_is_zero_or_one() -> None:
    assert codes(run(3, label="1")) == set()
    assert codes(run(3, label="-1")) == {"label_coding"}
    assert codes(run(3, label="")) == {"label_missing"}


def test_wafer_id_is_the_lot_and_two_digits() -> None:
    assert codes(run(3, wafer="L31-{}")) == {"wafer_id_unsafe"}


def test_feature_is_never_empty_for_a_whole_run_of_ten_or_more_wafers() -> None:
    assert codes(run(9, without_step="step4")) == set()
    assert codes(run(10, without_step="step4")) == {"column_empty"}


def test_run_of_more_wafers_than_agreed_is_refused() -> None:
    assert codes(run(26)) == {"batch_size"}
