"""The bundle: one registered version with all that prediction needs, and with what it comes from."""

from hashlib import sha256

import pandas as pd

from resources.champion import load_bundle
from resources.mlflow import CHALLENGER, BundleVersion, LineTracking
from schemas.loader import load_schema
from tests.assets.conftest import MODEL, Made, Modelling
from wafer_assets.domain.config import ModelConfig
from wafer_assets.domain.scoring import score
from wafer_assets.domain.table import frame_hash
from wafer_assets.keys import model_card_key


def registered(modelling: Modelling) -> tuple[Made, BundleVersion]:
    """Register the pieces of the training anew; return what that made."""
    made = modelling.materialize("model_bundle")
    assert made.run.success
    return made, LineTracking(modelling.settings, "secom").get_version(made.value("model_bundle")["version"])


def test_its_value_names_the_version_and_what_that_comes_from(trained: Made, simulated: pd.DataFrame) -> None:
    assert trained.value("model_bundle") == {
        "version": 1,
        "training": trained.run.run_id,
        "config_hash": ModelConfig(**MODEL).content_hash,
        "table_hash": frame_hash(simulated),
    }


def test_what_people_read_of_it(trained: Made) -> None:
    facts = trained.metadata("model_bundle")
    assert (facts["model"], facts["version"], facts["alias"]) == ("trained-secom", 1, "challenger")
    assert facts["policy"] == "inspect the riskiest 33% of the wafers"
    assert 0 < facts["alarm_threshold"] < 1
    assert facts["table_hash"] == trained.metadata("wafer_table")["content_hash"]
    assert facts["model_card"].endswith(model_card_key("secom", 1))


def test_the_size_that_is_told_is_that_of_the_bundle(trained: Made) -> None:
    (bundle,) = [content for key, (content, _) in trained.objects.items() if key.endswith("/bundle.skops")]
    assert trained.metadata("model_bundle")["size_bytes"] == len(bundle)


def test_the_version_is_the_challenger_and_tagged_with_its_origin(modelling: Modelling) -> None:
    made, version = registered(modelling)
    assert LineTracking(modelling.settings, "secom").version(CHALLENGER) == version
    origin = made.value("model_bundle")
    assert version.tags == {
        **{name: origin[name] for name in ("training", "config_hash", "table_hash")},
        "contract_version": load_schema("training").contract_version,
        "dagster_run_id": made.run.run_id,
        "bundle_sha256": sha256(LineTracking(modelling.settings, "secom").content_of(version)).hexdigest(),
    }


def test_its_run_in_mlflow_knows_hyperparameters_batches_and_evidence(
    modelling: Modelling, trained: Made, simulated: pd.DataFrame
) -> None:
    from mlflow import MlflowClient

    made, version = registered(modelling)
    assert version.run_id == made.metadata("model_bundle")["mlflow_run_id"]
    run = MlflowClient(modelling.settings.mlflow.tracking_uri).get_run(version.run_id)
    logged = run.data.params
    assert {name: logged[name] for name in MODEL} == {name: str(value) for name, value in MODEL.items()}
    assert run.data.metrics["alarm_threshold"] == made.metadata("model_bundle")["alarm_threshold"]
    tracking = LineTracking(modelling.settings, "secom")
    assert tracking.training_batches(version) == tuple(sorted(simulated["batch"].unique()))
    pd.testing.assert_frame_equal(tracking.out_of_fold(version), trained.value("evaluation"), check_exact=True)


def test_the_model_card_is_in_the_lake_and_in_mlflow(trained: Made) -> None:
    page = trained.objects[model_card_key("secom", 1)][0]
    assert b"<html" in page
    (kept,) = [content for key, (content, _) in trained.objects.items() if key.endswith("/artifacts/model_card.html")]
    assert kept == page


def test_it_scores_wafers_and_tells_what_it_was_trained_on(modelling: Modelling, simulated: pd.DataFrame) -> None:
    made, version = registered(modelling)
    bundle = load_bundle(LineTracking(modelling.settings, "secom"), version)
    scores = score(bundle, simulated.drop(columns=["batch", "faulty"]), version.version)
    assert scores.rows["wafer"].tolist() == simulated["wafer"].tolist()
    threshold = made.metadata("model_bundle")["alarm_threshold"]
    assert (scores.rows["faulty"] == (scores.rows["probability"] >= threshold)).all()
    card = bundle.card
    assert (card["wafers"], card["faults"]) == (len(simulated), simulated["faulty"].sum())
    assert (card["table_hash"], card["threshold"]) == (frame_hash(simulated), threshold)
    assert card["config"] == ModelConfig(**MODEL).model_dump()
    assert [row["cluster"] for row in card["clusters"]] == list(range(len(bundle.model.clusterer_.centers_)))
    assert card["quality"]["repeated_k_fold"]["auc"]["value"] is not None


def test_each_materialization_is_a_version_whose_number_is_its_data_version(modelling: Modelling) -> None:
    (first, one), (second, two) = registered(modelling), registered(modelling)
    assert [first.data_version("model_bundle"), second.data_version("model_bundle")] == ["1", "2"]
    bundles = [load_bundle(LineTracking(modelling.settings, "secom"), version) for version in (one, two)]
    assert bundles[0].card == bundles[1].card


def test_it_is_not_registered_with_the_evaluation_of_another_table(modelling: Modelling, trained: Made) -> None:
    rows = trained.value("evaluation")
    modelling.give("evaluation", rows[rows["wafer"] != "Wafer-1"])
    made = modelling.materialize("model_bundle")
    assert not made.run.success
    (failure,) = [event.step_failure_data for event in made.run.all_events if event.is_step_failure]
    assert "secom/training/evaluation is of another table: 1 wafers" in made.failure
    counts = {"evaluated_wafers": 239, "table_wafers": 240, "different_wafers": 1}
    assert {name: entry.value for name, entry in failure.user_failure_data.metadata.items()} == counts
    assert LineTracking(modelling.settings, "secom").versions() == []


def test_pieces_of_other_hyperparameters_are_not_registered(modelling: Modelling) -> None:
    made = modelling.materialize("model_bundle", model={"capacity": 0.2})
    assert not made.run.success
    assert "under other hyperparameters" in made.failure
    assert LineTracking(modelling.settings, "secom").versions() == []
