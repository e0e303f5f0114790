"""What must hold of tables and models: gates for later steps, and what people should see."""

from collections.abc import Sequence

import dagster as dg

from resources.trainings import training_id
from schemas.lines import Line
from wafer_assets.keys import training_key
from wafer_assets.operations.facts import training_metadata
from wafer_assets.operations.table import SUPERSEDING_SHARE, Superseding


def both_outcomes(line: Line) -> dg.AssetChecksDefinition:
    """Build the check that a line's table can be learned from."""
    table = training_key(line.name, "wafer_table")

    @dg.asset_check(
        asset=table,
        name="both_outcomes",
        description="The table holds faulty and passed wafers; without both there is nothing to learn.",
        blocking=True,
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Refuse a table of one kind of wafer only; its metadata says enough, so it is not read again.

        Raises
        ------
        dagster.Failure
            There is no table.
        """
        facts = training_metadata(context.instance, table, training_id(context.run))
        if not facts:
            raise dg.Failure(f"There is no table. Materialize {table.to_user_string()} first.", allow_retries=False)
        faults = int(str(facts["faulty_wafers"].value))
        passed = int(str(facts["dagster/row_count"].value)) - faults
        return dg.AssetCheckResult(
            passed=faults > 0 and passed > 0,
            metadata={"faulty_wafers": faults, "passed_wafers": passed},
            description=f"{faults} faulty and {passed} passed wafers; training needs both.",
        )

    return check


def superseding_check_spec(line: str) -> dg.AssetCheckSpec:
    """Return the check that a line's batches hold wafers of their own."""
    return dg.AssetCheckSpec(
        "few_superseded",
        asset=training_key(line, "wafer_table"),
        description=f"No batch holds more than {SUPERSEDING_SHARE:.0%} wafers of other batches, and none changes the "
        "labels of wafers that other batches hold.",
    )


def superseding_check_result(line: str, batches: Sequence[Superseding]) -> dg.AssetCheckResult:
    """Say which batches supersede more of others than a correction does; row numbers instead of ids do."""
    columns = {"batch": "string", "wafers": "int", "superseded": "int", "relabelled": "int"}
    return dg.AssetCheckResult(
        check_name="few_superseded",
        asset_key=training_key(line, "wafer_table"),
        passed=not batches,
        # The table is what it is: people should look whether these are the wafers that they seem to be.
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "batches": dg.MetadataValue.table(
                [dg.TableRecord({name: getattr(item, name) for name in columns}) for item in batches[:100]],
                schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
            )
        },
        description=f"{len(batches)} batches supersede many wafers of others, or change their labels: are their ids "
        "row numbers, or their labels of another coding?"
        if batches
        else None,
    )


LEAK_AUC = 0.80
"""On the real line no honest model comes near this AUC: a higher one is a leak until proven otherwise."""


def quality_check_specs(line: str) -> list[dg.AssetCheckSpec]:
    """Return the checks of a line's evaluation."""
    return [
        dg.AssetCheckSpec(
            "better_than_chance",
            asset=training_key(line, "evaluation"),
            description="The interval of the cross-validated AUC lies above one half.",
        ),
        dg.AssetCheckSpec(
            "plausible",
            asset=training_key(line, "evaluation"),
            description=f"The cross-validated AUC is below {LEAK_AUC:.2f}; on real wafers more means a leak. "
            "Simulated faults are easier to find.",
        ),
    ]


def quality_check_results(line: str, auc: float, low: float) -> list[dg.AssetCheckResult]:
    """Judge the cross-validated AUC by its value and the lower end of its interval."""
    outcomes = {"better_than_chance": low > 0.5, "plausible": auc < LEAK_AUC}
    return [
        dg.AssetCheckResult(
            check_name=name,
            asset_key=training_key(line, "evaluation"),
            passed=passed,
            # Promotion decides what a model may do; these tell people to look.
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"auc": auc, "auc_low": low},
        )
        for name, passed in outcomes.items()
    ]
