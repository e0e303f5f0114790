"""The rules of promotion, on made-up out-of-fold results."""

import json

import numpy as np
import pandas as pd

from wafer_assets.domain.promotion import Decision, decide

WAFERS, FAULTS = 400, 60


def results(
    skill: float,
    *,
    repeats: int = 2,
    first: int = 0,
    wafers: int = WAFERS,
    noise: int = 0,
    sharpness: float = 1.0,
) -> pd.DataFrame:
    """Out-of-fold rows of a model whose log-odds differ by `skill` between the outcomes.

    The wafers are numbered from `first`. Two results differ in `noise` alone where nothing else does;
    `sharpness` other than 1 spoils the probabilities and leaves the ranking as it is.
    """
    rng = np.random.default_rng(noise)
    every = WAFERS // FAULTS + 1
    faulty = ((np.arange(wafers) + first) % every == 0).astype(np.int8)
    prior = np.log(1 / (every - 1))
    frames = []
    for repeat in range(repeats):
        evidence = skill * (faulty - 0.5) + np.sqrt(skill) * rng.normal(size=wafers)
        odds = prior + sharpness * evidence
        frames.append(
            pd.DataFrame(
                {
                    "protocol": "repeated_k_fold",
                    "repeat": repeat,
                    "fold": np.arange(wafers) % 5,
                    "row": np.arange(wafers),
                    "wafer": [f"Wafer-{first + number}" for number in range(wafers)],
                    "faulty": faulty,
                    "probability": 1 / (1 + np.exp(-odds)),
                    "alarm": odds > 0,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def gates(decision: Decision) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in decision.gates}


def said(decision: Decision) -> str:
    return " ".join(decision.reasons)


def test_a_useful_first_model_is_promoted() -> None:
    decision = decide(results(2), None, seed=0)
    assert decision.promote
    assert gates(decision) == {"log_loss_below_base_rate": True, "auc_above_chance": True}
    assert (decision.wafers, decision.faults) == (400, 58)
    assert "There is no champion yet" in said(decision)
    assert all(gate.figure in said(decision) for gate in decision.gates)


def test_a_first_model_that_knows_nothing_is_kept_out() -> None:
    guess = results(2).assign(probability=np.random.default_rng(0).uniform(0.05, 0.3, 2 * WAFERS))
    decision = decide(guess, None, seed=0)
    assert not decision.promote
    assert not any(gates(decision).values())


def test_a_first_model_must_beat_the_base_rate_with_its_whole_interval() -> None:
    decision = decide(results(0.03, repeats=1), None, seed=0)
    (base_rate, _) = decision.gates
    assert base_rate.estimate.low < 0 < base_rate.estimate.high
    assert not decision.promote


def test_a_model_that_ranks_well_and_overstates_is_no_better_than_the_base_rate() -> None:
    decision = decide(results(1, sharpness=5), None, seed=0)
    assert gates(decision) == {"log_loss_below_base_rate": False, "auc_above_chance": True}
    assert not decision.promote


def test_the_better_model_replaces_the_worse_one_and_not_the_other_way_round() -> None:
    good, poor = results(4), results(0.5, noise=1)
    better, worse = decide(good, poor, seed=0, clearly_better=True), decide(poor, good, seed=0)
    assert better.promote
    assert not worse.promote
    assert gates(worse) == {
        "log_loss_below_base_rate": True,
        "log_loss": False,
        "auc": False,
        "average_precision": False,
    }


def test_the_same_results_change_nothing() -> None:
    decision = decide(results(2), results(2), seed=0)
    assert not decision.promote
    assert gates(decision)["log_loss"] is False
    assert "No better" in said(decision)


def test_a_small_gain_is_enough_unless_a_clear_one_is_asked_for() -> None:
    champion = results(2)
    challenger = results(2, sharpness=1.0, noise=0)
    nearer = challenger["faulty"] == 1
    # One better-known fault in sixty is a gain, but not one that drawing the wafers again would always show.
    lucky = challenger["wafer"] == challenger.loc[nearer, "wafer"].iloc[0]
    challenger.loc[lucky, "probability"] = 0.9999
    challenger.loc[challenger["wafer"] == "Wafer-1", "probability"] *= 1.5
    assert decide(challenger, champion, seed=0).promote
    assert not decide(challenger, champion, seed=0, clearly_better=True).promote


def test_a_clearly_worse_ranking_vetoes_a_better_log_loss() -> None:
    challenger, champion = results(0.5, noise=1), results(4, sharpness=5)
    decision = decide(challenger, champion, seed=0)
    assert gates(decision)["log_loss"]
    assert not gates(decision)["auc"]
    assert not decision.promote


def test_repeats_order_and_other_protocols_do_not_matter() -> None:
    champion = results(0.5, repeats=3, noise=1)
    decision = decide(results(3), champion, seed=0)
    shuffled = pd.concat([champion.sample(frac=1, random_state=0), champion.assign(protocol="time_split", faulty=1)])
    assert decide(results(3), shuffled, seed=0) == decision
    assert decision.promote


def test_only_common_wafers_are_compared_whatever_their_place() -> None:
    decision = decide(results(4, first=100), results(0.5, noise=1), seed=0)
    assert decision.promote
    assert decision.wafers == 300


def test_models_of_other_wafers_are_not_comparable() -> None:
    for champion in (results(0.5, first=WAFERS), results(0.5, first=300), results(0.5).iloc[:0]):
        decision = decide(results(4), champion, seed=0)
        assert not decision.promote
        assert "Not comparable" in decision.reasons[0]
        assert "wafer models promote" in decision.reasons[0]


def test_corrected_outcomes_are_left_out_of_the_comparison() -> None:
    champion = results(0.5, noise=1)
    corrected = champion["wafer"].isin(["Wafer-0", "Wafer-1", "Wafer-2"])
    champion.loc[corrected, "faulty"] = 1 - champion.loc[corrected, "faulty"]
    decision = decide(results(4), champion, seed=0)
    assert decision.promote
    assert decision.wafers == WAFERS - 3


def test_too_few_faults_decide_nothing() -> None:
    decision = decide(results(4, wafers=100), None, seed=0)
    assert not decision.promote
    assert "15 faulty and 85 passed" in said(decision)
    assert decide(results(4).iloc[:0], None, seed=0).wafers == 0


def test_a_decision_is_plain_json_and_repeats() -> None:
    decision = decide(results(2), results(2), seed=0)
    written = json.loads(json.dumps(decision.as_dict(), allow_nan=False))
    assert written["gates"][1]["value"] == 0
    assert written["gates"][1]["low"] is None
    assert decision.as_dict() == decide(results(2), results(2), seed=0).as_dict()
