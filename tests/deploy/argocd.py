"""What Argo CD makes of `deploy/argocd`: applications by Go templates, and their sources by Kustomize and Helm."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.ci.tools import FOLDER as TOOLS
from deploy.infra.rendering import render
from tests.chart import ROOT, load_values
from tests.deploy.infra.test_rendering import CERTIFICATES, FACTS

FOLDER = ROOT / "deploy" / "argocd"
BASE = FOLDER / "base"
CRDS = Path(os.environ.get("CRDS_KIT") or ROOT.parent / "shared" / "crds")
CHART = os.environ.get("WAFER_DAGSTER_CHART")
DIGEST = "sha256:" + "1" * 64
RELEASE: dict[str, Any] = {
    "chart": "1.13.27",
    "revision": "a" * 40,
    "image": {"repository": "registry.example.org/wafer-fault-platform", "tag": "0123456789ab", "digest": DIGEST},
}
ENVIRONMENTS = ("dev", "production")
Object = dict[str, Any]

# Helm's engine has the template functions that Argo CD has: Go's and Sprig's.
_RENDER = """
import json, sys
from helm_python import Chart
asked = json.load(sys.stdin)
json.dump(Chart.load(asked["chart"]).render(asked["values"], name="dagster", namespace="wafer"), sys.stdout)
"""

needs_helm = pytest.mark.skipif(
    not (TOOLS / "python").exists(), reason="run `make delivery-tools` for Helm's templates"
)
needs_kustomize = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="kubectl is not installed, nor Kustomize in it"
)
needs_crds = pytest.mark.skipif(not (CRDS / "check").exists(), reason="CRDS_KIT names no folder of definitions")


def read(name: str) -> Object:
    return dict(yaml.safe_load((BASE / name).read_text()))


def helm(chart: Path | str, values: Object) -> dict[str, str]:
    """Render a chart, without a cluster; return its files."""
    rendered = subprocess.run(
        [str(TOOLS / "python"), "-c", _RENDER],
        input=json.dumps({"chart": str(chart), "values": values}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    return dict(json.loads(rendered.stdout))


def application(environment: str, folder: Path, release: Object = RELEASE) -> Object:
    """Return the application that the ApplicationSet makes of an environment's file, after a delivery."""
    spec = read("environments.yaml")["spec"]
    file = yaml.safe_load((FOLDER / "environments" / f"{environment}.yaml").read_text()) | release
    chart = folder / f"template-{environment}"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: template\nversion: 1.0.0\n")
    template = yaml.safe_dump(spec["template"], width=1000)
    (chart / "templates" / "application.yaml").write_text("{{ with .Values }}" + template + "{{ end }}")
    (text,) = helm(chart, file).values()
    assert "<no value>" not in text
    made: Object = yaml.safe_load(text)
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
    return head | made | {"metadata": made["metadata"] | {"namespace": "argocd"}}


def laid_out(made: Object, folder: Path) -> Path:
    """Lay the commit out as Argo CD checks it out, with the environment that Terraform made; return its root."""
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("terraform", "__pycache__"))
    shutil.copytree(ROOT / "helm_values", folder / "helm_values")
    render(
        made["spec"]["sources"][0]["path"].rpartition("/")[2], FACTS, CERTIFICATES, folder / "deploy" / "environments"
    )
    return folder


def manifests_of(made: Object, folder: Path) -> list[Object]:
    """Return what Kustomize makes of an application's first source."""
    source = made["spec"]["sources"][0]
    file = laid_out(made, folder) / source["path"] / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    # As `kustomize edit set image` and `edit add component` do it, which is what Argo CD calls.
    images = {image["name"]: image for image in kustomization["images"]}
    for image in source["kustomize"]["images"]:
        name, new, digest = re.fullmatch(r"(.+)=(.+)@(sha256:\w+)", image).groups()  # type: ignore[union-attr]
        images[name] = {"name": name, "newName": new, "digest": digest}
    kustomization |= {"images": list(images.values()), "components": source["kustomize"]["components"]}
    file.write_text(yaml.safe_dump(kustomization))
    command = ["kubectl", "kustomize", str(file.parent)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def values_of(made: Object, folder: Path) -> Object:
    """Return the chart's values that an application's second source gives it."""
    source = made["spec"]["sources"][1]["helm"]
    root = laid_out(made, folder)
    values = load_values(*(root / file.removeprefix("$source/") for file in source["valueFiles"]))
    for parameter in source["parameters"]:
        *path, last = re.findall(r"[\w-]+", parameter["name"])
        place: Any = values
        for key in path:
            place = place[int(key) if key.isdigit() else key]
        assert last in place, f"{parameter['name']} sets what the values do not have"
        place[last] = parameter["value"]
    return values
