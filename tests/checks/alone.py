"""A check that runs alone, and what it says."""

import dagster as dg


def run(
    check: dg.AssetChecksDefinition, instance: dg.DagsterInstance, **resources: object
) -> dg.ExecuteInProcessResult:
    """Run a check alone."""
    job = dg.define_asset_job("judge", selection=dg.AssetSelection.checks(check))
    defs = dg.Definitions(asset_checks=[check], jobs=[job], resources=resources)
    return defs.resolve_job_def("judge").execute_in_process(instance=instance, raise_on_error=False)


def judge(
    check: dg.AssetChecksDefinition, instance: dg.DagsterInstance, **resources: object
) -> dg.AssetCheckEvaluation:
    (outcome,) = run(check, instance, **resources).get_asset_check_evaluations()
    return outcome


def facts_of(outcome: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {name: entry.value for name, entry in outcome.metadata.items()}
