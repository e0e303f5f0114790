"""Evaluation: what is told of the model's quality is measured on wafers that it had not seen."""

import math

import dagster as dg
import pandas as pd

from tests.assets.conftest import EVALUATION, Made, Modelling, require_picture
from wafer_assets.domain.evaluation import METRICS, PROTOCOLS

PLOTS = ("metrics", "roc", "precision_recall", "calibration", "probabilities", "over_time")


def checks_of(made: Made) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in made.run.get_asset_check_evaluations()}


def test_every_wafer_is_tested_once_a_repeat_by_a_model_that_had_not_seen_it(
    trained: Made, simulated: pd.DataFrame
) -> None:
    rows = trained.value("evaluation")
    assert list(rows) == ["protocol", "repeat", "fold", "row", "wafer", "faulty", "probability", "alarm"]
    assert set(rows["protocol"]) <= set(PROTOCOLS)
    tested = rows[rows["protocol"] == "repeated_k_fold"].sort_values("row")
    assert tested["wafer"].tolist() == simulated["wafer"].tolist()
    assert tested["faulty"].tolist() == simulated["faulty"].tolist()
    assert set(tested["fold"]) == set(range(EVALUATION["folds"]))
    assert rows["probability"].between(0, 1).all()
    assert rows["alarm"].dtype == bool


def test_quality_is_a_table_of_every_metric_under_every_protocol(trained: Made) -> None:
    basis, _, header, _, *rows = trained.metadata("evaluation")["quality"].splitlines()
    assert basis.endswith(f"{trained.metadata('evaluation')['figures']['basis']}.")
    assert [column.split(" (")[0] for column in header.strip("| ").split(" | ")] == ["metric", *PROTOCOLS]
    assert all("faulty" in column for column in header.strip("| ").split(" | ")[1:])
    assert [row.split(" | ")[0] for row in rows] == [f"| {metric.title}" for metric in METRICS.values()]


def test_the_figures_are_told_with_the_settings_they_were_measured_with(trained: Made, simulated: pd.DataFrame) -> None:
    facts = trained.metadata("evaluation")
    figures = facts["figures"]
    assert (figures["wafers"], figures["faults"]) == (len(simulated), simulated["faulty"].sum())
    assert (figures["repeats"], figures["folds"]) == (EVALUATION["repeats"], EVALUATION["folds"])
    auc = figures["metrics"]["repeated_k_fold"]["auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert facts["repeated_k_fold_auc"] == auc["value"]
    assert facts["dagster/row_count"] == len(trained.value("evaluation"))


def test_what_cannot_be_measured_on_a_short_line_is_left_out_and_explained(trained: Made) -> None:
    facts = trained.metadata("evaluation")
    undefined = facts["figures"]["metrics"]["time_split"]["auc_within_100"]
    assert undefined["value"] is None
    assert "tested wafers are all within 100" in undefined["reason"]
    assert not any(isinstance(value, float) and math.isnan(value) for value in facts.values())


def test_every_view_is_a_picture_in_the_ui_and_in_mlflow(trained: Made) -> None:
    facts = trained.metadata("evaluation")
    for name in PLOTS:
        require_picture(facts[f"plot_{name}"])
    assert {f"plots/{name}.png" for name in PLOTS} | {"evaluation.json"} <= trained.artifacts


def test_mlflow_has_the_metrics_with_their_intervals_and_no_undefined_one(trained: Made) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(trained.settings.mlflow.tracking_uri)
    logged = client.get_run(trained.metadata("model_bundle")["mlflow_run_id"]).data.metrics
    auc = trained.metadata("evaluation")["figures"]["metrics"]["repeated_k_fold"]["auc"]
    for suffix, value in (("", auc["value"]), (".low", auc["low"]), (".high", auc["high"])):
        assert logged[f"repeated_k_fold.auc{suffix}"] == value
    assert "time_split.auc_within_100" not in logged
    assert not any(math.isnan(value) for value in logged.values())


def test_its_checks_warn_by_the_interval_that_was_measured(trained: Made) -> None:
    auc = trained.metadata("evaluation")["figures"]["metrics"]["repeated_k_fold"]["auc"]
    checks = checks_of(trained)
    for name in ("better_than_chance", "plausible"):
        evidence = {key: entry.value for key, entry in checks[name].metadata.items()}
        assert evidence == {"auc": auc["value"], "auc_low": auc["low"]}
        assert checks[name].severity == dg.AssetCheckSeverity.WARN
        assert not checks[name].blocking
    assert checks["better_than_chance"].passed == (auc["low"] > 0.5)


def test_outcomes_without_meaning_fail_the_check_and_not_the_run(modelling: Modelling, simulated: pd.DataFrame) -> None:
    shuffled = simulated["faulty"].sample(frac=1, random_state=0).to_numpy()
    modelling.give("wafer_table", simulated.assign(faulty=shuffled))
    made = modelling.materialize("evaluation")
    assert made.run.success
    assert not checks_of(made)["better_than_chance"].passed


def test_a_table_without_a_fault_is_refused(modelling: Modelling, simulated: pd.DataFrame) -> None:
    modelling.give("wafer_table", simulated.assign(faulty=0))
    made = modelling.materialize("evaluation")
    assert not made.run.success
    assert "no wafer of the table is faulty; ingest batches that hold faulty wafers" in made.failure


def test_made_again_from_the_same_table_it_is_the_same(modelling: Modelling, trained: Made) -> None:
    again = modelling.materialize("evaluation")
    pd.testing.assert_frame_equal(again.value("evaluation"), trained.value("evaluation"), check_exact=True)
    assert again.metadata("evaluation")["figures"] == trained.metadata("evaluation")["figures"]


def test_it_waits_for_the_models_and_follows_the_table(trained: Made) -> None:
    for source in ("cluster_models", "wafer_table"):
        assert trained.data_version(source, as_input_of="evaluation") == trained.data_version(source)
