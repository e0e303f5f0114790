"""Pictures are small PNGs that say in words what is undefined, and leave nothing behind."""

import gc
import io
import subprocess
import sys
import weakref
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.linear_model import LogisticRegression

from wafer_assets.domain import plots
from wafer_assets.domain.evaluation import Estimate, Evaluation, evaluate


def table(n: int, faulty: np.ndarray) -> pd.DataFrame:
    sensor = np.random.default_rng(0).normal(size=n) + faulty
    wafers = [f"Wafer-{i + 1}" for i in range(n)]
    return pd.DataFrame({"wafer": wafers, "batch": "b", "Sensor-1": sensor, "faulty": faulty})


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    faulty = (np.arange(500) % 11 == 0).astype(np.int8)
    return evaluate(table(500, faulty), LogisticRegression(), repeats=2, folds=5, seed=0, n_jobs=1)


@pytest.fixture(scope="module")
def without_test_faults() -> Evaluation:
    """A short line that stopped failing: nothing to roll over, and no fault in the time split's test part."""
    faulty = ((np.arange(200) % 5 == 0) & (np.arange(200) < 140)).astype(np.int8)
    return evaluate(table(200, faulty), LogisticRegression(), repeats=1, folds=5, seed=0, n_jobs=1)


def assert_png(png: bytes) -> None:
    assert png.startswith(b"\x89PNG")
    height, width, _ = imread(io.BytesIO(png)).shape
    assert width <= 1280
    assert height <= 1000
    assert len(png) < 150_000


OF_AN_EVALUATION = [
    plots.roc,
    plots.precision_recall,
    plots.calibration,
    plots.probabilities,
    plots.over_time,
    plots.metrics,
]


@pytest.mark.parametrize("draw", OF_AN_EVALUATION)
def test_every_view_of_an_evaluation_is_a_small_png(
    draw: Callable[[Evaluation], bytes], evaluation: Evaluation
) -> None:
    assert_png(draw(evaluation))


@pytest.mark.parametrize("protocol", ["repeated_k_fold", "time_split", "rolling_refit"])
@pytest.mark.parametrize("draw", [draw for draw in OF_AN_EVALUATION if draw is not plots.metrics])
def test_what_is_undefined_is_drawn_as_words(
    draw: Callable[[Evaluation, str], bytes], protocol: str, without_test_faults: Evaluation
) -> None:
    assert_png(draw(without_test_faults, protocol))


def test_undefined_metrics_leave_their_place_in_the_overview(without_test_faults: Evaluation) -> None:
    assert_png(plots.metrics(without_test_faults))


@pytest.mark.parametrize("protocol", ["repeated_k_fold", "time_split", "rolling_refit"])
@pytest.mark.parametrize("draw", [draw for draw in OF_AN_EVALUATION if draw is not plots.metrics])
def test_a_short_line_with_few_faults_has_pictures_that_tell_their_numbers(
    draw: Callable[[Evaluation, str], bytes], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = (np.arange(83) % 8 == 7).astype(np.int8)
    few = evaluate(table(83, faulty), LogisticRegression(), repeats=1, seed=0, n_jobs=1)
    titles: list[str] = []
    png = plots._png
    monkeypatch.setattr(plots, "_png", lambda figure: titles.append(figure.axes[0].get_title()) or png(figure))  # type: ignore[func-returns-value]

    assert_png(draw(few, protocol))
    assert f"unproven: {few.tested(protocol)}" in titles[0]


@pytest.mark.parametrize("is_knee", [True, False])
def test_the_elbow_names_its_choice(is_knee: bool) -> None:
    assert_png(plots.elbow([1, 2, 3, 4], [100.0, 40.0, 30.0, 25.0], 2, is_knee=is_knee))


def test_clusters_are_drawn_with_far_outliers_left_out() -> None:
    rng = np.random.default_rng(0)
    coordinates = np.vstack([rng.normal(size=(300, 10)), np.full((1, 10), 1e6)])
    assert_png(plots.clusters(coordinates, rng.integers(12, size=301), rng.integers(2, size=301)))


def test_members_are_compared_within_each_cluster() -> None:
    scores = {
        "Cluster 0": {"XGBoost": Estimate(0.7, 0.6, 0.8), "Random Forest": Estimate(0.6)},
        "Cluster 1": {"XGBoost": Estimate(float("nan"), reason="no faults")},
    }
    assert_png(plots.member_scores(scores))


def test_what_decides_on_a_promotion_is_drawn_even_where_nothing_could_be_compared() -> None:
    assert_png(plots.promotion({"log_loss": Estimate(-0.01, -0.02, 0.0), "auc": Estimate(0.02, reason="few")}))
    assert_png(plots.promotion({}))


def test_the_same_input_gives_the_same_picture(evaluation: Evaluation) -> None:
    assert plots.roc(evaluation) == plots.roc(evaluation)


def test_no_figure_stays_in_memory(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Figure]] = []
    original = Figure.__init__

    def remember(self: Figure, *args: object, **kwargs: object) -> None:
        alive.append(weakref.ref(self))
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "__init__", remember)
    plots.calibration(evaluation)
    gc.collect()
    assert len(alive) == 1
    assert alive[0]() is None


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, wafer_assets.domain.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
