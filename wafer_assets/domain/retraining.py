"""When a model is trained without anybody asking: enough new wafers, and not too soon after the last time.

Belongs here: the rule. Counting wafers and starting the training are the sensor's.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retraining:
    """Whether to train now.

    Attributes
    ----------
    due : bool
        Whether to train.
    reason : str
        Why or why not, for people.
    """

    due: bool
    reason: str


def decide_retraining(
    new_wafers: int,
    hours_since: float | None,
    *,
    min_new_wafers: int,
    cooldown_hours: float,
) -> Retraining:
    """Decide whether to train.

    Parameters
    ----------
    new_wafers : int
        Labelled wafers that the last training did not know.
    hours_since : float or None
        Hours since the last training began, whatever became of it; None if there was none. Negative where the
        clock has been put back, which counts as long as the jump is.
    min_new_wafers : int
        How many wafers are enough.
    cooldown_hours : float
        How many hours are enough.

    Returns
    -------
    Retraining
        Due if both are enough.
    """
    since = "no training before" if hours_since is None else f"{abs(hours_since):.1f} h since the last training"
    if new_wafers < min_new_wafers:
        return Retraining(False, f"{new_wafers} new labelled wafers, of which {min_new_wafers} are wanted")
    if hours_since is not None and abs(hours_since) < cooldown_hours:
        return Retraining(False, f"{new_wafers} new labelled wafers, but {since}; {cooldown_hours:g} h are wanted")
    return Retraining(True, f"{new_wafers} new labelled wafers, {since}")
