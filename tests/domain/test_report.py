import dataclasses
import html
import re

import numpy as np
import pandas as pd
import pytest

from wafer_assets.domain.clustering import plane
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.evaluation import METRICS, PROTOCOLS
from wafer_assets.domain.report import EXPLAINED, LISTED, batch_report, model_card
from wafer_assets.domain.scoring import Bundle, Scores, make_bundle, score
from wafer_assets.domain.simulation import simulate_table
from wafer_assets.domain.table import sensor_readings
from wafer_assets.domain.training import FaultModel

TABLE = simulate_table(400, seed=1, fault_rate=0.15)
CONFIG = ModelConfig(folds=2, xgboost_trees=5, forest_trees=3, k=2)
OPTIONAL = "Sensor-590"
HOSTILE = "<script>alert(1)</script>"
UNDEFINED = {"value": None, "low": None, "high": None, "spread": None, "reason": "no wafer is faulty"}
CARD = {
    "table_hash": "5eed" * 16,
    "batches": ["wafer_07012020_000000.csv", "<b>bold</b>"],
    "wafers": 400,
    "faults": 60,
    "policy": "inspect the riskiest 33% of the wafers",
    "config": CONFIG.model_dump(),
    "quality": {
        protocol: {
            metric: {"value": 0.71, "low": 0.62, "high": 0.803, "spread": 0.01, "reason": ""} for metric in METRICS
        }
        | {"mcc": UNDEFINED}
        for protocol in PROTOCOLS
    },
    "clusters": [{"cluster": 0, "wafers": 210, "faulty_wafers": 31, "weight": 0.34}],
    "strongest_sensors": ["Sensor-1", {"sensor": "Sensor-2", "mean_contribution": 0.25}],
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    readings = sensor_readings(TABLE)
    model = FaultModel(CONFIG).fit(readings, TABLE["faulty"])
    features = model.preprocessor_.transform(readings)
    clusters, coordinates = model.clusterer_.predict(features), model.clusterer_.coordinates(features)
    return make_bundle(model, TABLE, clusters, coordinates, contract_version="1.0", optional=[OPTIONAL], card=CARD)


@pytest.fixture(scope="module")
def wafers(bundle: Bundle) -> pd.DataFrame:
    batch = TABLE.iloc[:80].drop(columns="faulty").reset_index(drop=True)
    strongest = score(bundle, batch, 3)
    # The strongest sensor of the riskiest wafer has no reading in the whole batch.
    riskiest = int(strongest.rows["probability"].argmax())
    assert strongest.evidence is not None
    batch[strongest.evidence.sensors[riskiest, 0]] = np.nan
    batch.loc[3, "wafer"] = HOSTILE
    return batch.drop(columns=OPTIONAL, errors="ignore")


@pytest.fixture(scope="module")
def scores(bundle: Bundle, wafers: pd.DataFrame) -> Scores:
    return score(bundle, wafers, 3)


@pytest.fixture(scope="module")
def page(bundle: Bundle, scores: Scores, wafers: pd.DataFrame) -> str:
    return batch_report(bundle, scores, "wafer_28012020_051011.csv", wafers, 3, "wafer-fault").decode()


def listed(page: str) -> list[list[str]]:
    table = page.split('<table class="list">')[1].split("</table>")[0]
    return [cells(row) for row in re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)[1:]]


def cells(row: str) -> list[str]:
    found = re.findall(r"<td.*?>(.*?)</td>", row, flags=re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in found]


def test_pages_load_nothing_and_run_nothing(page: str, bundle: Bundle) -> None:
    for text in (page, model_card(bundle, 3, "wafer-fault").decode()):
        assert len(text.encode()) < 2_000_000
        assert not re.search(r"https?://|<script|<link|<img|@import|\ssrc=|\shref=|url\((?!#)", text)


def test_names_from_outside_are_escaped(bundle: Bundle, page: str, scores: Scores, wafers: pd.DataFrame) -> None:
    assert HOSTILE not in page
    assert html.escape(HOSTILE) in page

    hostile = batch_report(bundle, scores, HOSTILE, wafers, 3, HOSTILE) + model_card(bundle, 3, HOSTILE)
    assert b"<script" not in hostile
    assert b"<b>bold" not in hostile


def test_every_wafer_is_listed_alarms_first_by_probability(page: str, scores: Scores, wafers: pd.DataFrame) -> None:
    rows = listed(page)
    alarms = int(scores.rows["faulty"].sum())
    assert 0 < alarms < len(wafers)
    ranked = [row for row in rows if len(row) > 1]
    probability = [float(row[3].rstrip("%")) for row in ranked]

    assert sorted(row[1] for row in ranked) == sorted(wafers["wafer"])
    assert probability == sorted(probability, reverse=True)
    assert [row[4] for row in ranked] == ["ALARM: inspect"] * alarms + ["no alarm"] * (len(wafers) - alarms)
    assert len(rows[alarms]) == 1
    assert f"{alarms} of {len(wafers)} wafers" in rows[alarms][0]
    assert "inspect the riskiest 33%" in rows[alarms][0]


def test_contributions_of_a_wafer_add_up_to_its_log_odds(page: str, scores: Scores) -> None:
    sections = re.findall(r"<section>(.*?)</section>", page, flags=re.DOTALL)
    riskiest = np.sort(scores.margin)[::-1]

    assert len(sections) == EXPLAINED
    for section, margin in zip(sections, riskiest, strict=False):
        *parts, total = [
            float(row[-1]) for row in map(cells, re.findall(r"<tr.*?</tr>", section, flags=re.DOTALL)) if row
        ]
        assert sum(parts) == pytest.approx(total, abs=0.0005 * (len(parts) + 1))
        assert total == pytest.approx(margin, abs=0.0005)


def test_missing_readings_and_absent_sensors_are_named(page: str, wafers: pd.DataFrame) -> None:
    gone = wafers.columns[wafers.isna().all()]
    told = page.split("What was missing")[1]

    assert '<span class="gap">missing</span>' in page
    assert all(sensor in told for sensor in gone)
    assert OPTIONAL in told.split("left out of the file")[1].split("</dl>")[0]


def test_the_card_shows_intervals_and_says_what_is_undefined(bundle: Bundle) -> None:
    card = model_card(bundle, 3, "wafer-fault").decode()

    assert card.count("0.710 [0.620, 0.803]") >= len(PROTOCOLS) * (len(METRICS) - 1)
    assert card.count("undefined (no wafer is faulty)") == len(PROTOCOLS)
    assert all(metric.title in card for metric in METRICS.values())
    assert "Sensor-2: mean contribution 0.25" in card
    assert "correlation is not cause" in card


def test_a_card_without_figures_says_so(bundle: Bundle, scores: Scores, wafers: pd.DataFrame) -> None:
    bare = dataclasses.replace(bundle, card={})
    pages = (model_card(bare, 1, "m"), batch_report(bare, scores, "b", wafers, 1, "m"))

    assert all(b"not recorded" in page for page in pages)


def test_pages_state_faults_and_folds_beside_the_figures(bundle: Bundle) -> None:
    counted = dataclasses.replace(bundle, card=CARD | {"folds": 10})

    assert "Measured on 60 faults, folds 10" in model_card(counted, 3, "m").decode()
    assert "Measured on 60 faults, folds not recorded" in model_card(bundle, 3, "m").decode()


def test_pages_of_a_model_with_few_faults_say_that_it_is_unproven(
    bundle: Bundle, scores: Scores, wafers: pd.DataFrame
) -> None:
    few = dataclasses.replace(bundle, card=CARD | {"folds": 5, "faults": 11})

    for page in (model_card(few, 3, "m"), batch_report(few, scores, "b", wafers, 3, "m")):
        assert b"Unproven: 11 faults, folds 5." in page
        assert b"fewer than 20 faulty wafers" in page
    assert b"Unproven" not in batch_report(bundle, scores, "b", wafers, 3, "m")


def test_pages_of_a_model_promoted_against_the_rule_say_that_it_is_unproven(
    bundle: Bundle, scores: Scores, wafers: pd.DataFrame
) -> None:
    bare = dataclasses.replace(bundle, card={})

    for page in (
        model_card(bundle, 3, "m", against_rule=True),
        batch_report(bundle, scores, "b", wafers, 3, "m", against_rule=True),
        model_card(bare, 3, "m", against_rule=True),
    ):
        assert b"promoted by hand against the promotion rule" in page


def test_what_is_known_of_a_wafer_beside_its_readings_stands_in_its_row(
    bundle: Bundle, scores: Scores, wafers: pd.DataFrame
) -> None:
    count = len(wafers)
    context = pd.DataFrame(
        {
            "Tool": ["<b>ETCH-3</b>", *[None] * (count - 1)],
            "Slot": np.arange(count, dtype=float),
            "Time": pd.to_datetime(["2020-03-02T10:15:00Z"] * count),
        }
    )
    page = batch_report(bundle, scores, "b", wafers, 3, "m", context=context).decode()
    assert "<th>Tool</th><th>Slot</th><th>Time</th>" in page
    assert "&lt;b&gt;ETCH-3&lt;/b&gt;" in page
    assert "2020-03-02 10:15:00" in page


def test_an_empty_batch_and_one_without_evidence_have_a_page(bundle: Bundle, wafers: pd.DataFrame) -> None:
    plain = score(bundle, wafers, 3, evidence=False)
    empty = Scores(plain.rows.iloc[:0], plain.margin[:0], plain.coordinates[:0], None)

    assert b"no alarm among 0 wafers" in batch_report(bundle, empty, "b", wafers.iloc[:0], 3, "m")
    assert b"No contributions" in batch_report(bundle, plain, "b", wafers, 3, "m")


@pytest.mark.parametrize(("sensors", "wafers_", "faults"), [(10, 83, 11), (3, 30, 4), (1, 12, 4)])
def test_a_line_of_few_sensors_and_wafers_has_pages(sensors: int, wafers_: int, faults: int) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(wafers_, sensors))).add_prefix("S")
    table["faulty"] = (np.arange(wafers_) < faults).astype(np.int8)
    table.insert(0, "wafer", [f"L-{number}" for number in range(wafers_)])
    readings = table.drop(columns=["wafer", "faulty"])
    model = FaultModel().fit(readings, table["faulty"])
    features = model.preprocessor_.transform(readings)
    clusters, places = model.clusterer_.predict(features), plane(model.clusterer_.coordinates(features))
    small = make_bundle(model, table, clusters, places, contract_version="1.0", optional=[], card={})
    page = batch_report(small, score(small, table, 1), "b", table, 1, "m").decode()

    assert len(listed(page)) >= wafers_
    assert page.count("All other sensors") == EXPLAINED
    assert model_card(small, 1, "m")


def test_a_huge_batch_still_fits_a_page(bundle: Bundle, wafers: pd.DataFrame) -> None:
    many = pd.concat([wafers] * (LISTED // len(wafers) + 2), ignore_index=True)
    page = batch_report(bundle, score(bundle, many, 3), "b", many, 3, "m")

    assert len(page) < 2_000_000
    assert f"The {len(many) - LISTED} least risky wafers".encode() in page


def test_more_alarms_than_the_policys_share_of_the_batch_are_pointed_out(bundle: Bundle, wafers: pd.DataFrame) -> None:
    for take, pointed_out in ((10, True), (-10, False)):
        order = score(bundle, wafers, 3).rows["probability"].sort_values(ascending=False).index[:take][-10:]
        chosen = wafers.loc[order].reset_index(drop=True)
        page = batch_report(bundle, score(bundle, chosen, 3), "b", chosen, 3, "m").decode()

        assert ("10 wafers, not 4" in page) == pointed_out
