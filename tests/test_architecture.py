"""The rules of the house: what may import what, what is borrowed where, what loading costs, and where tests are."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Folders, from the ground up: whatever is in one may import its own and those before it.
LAYERS = (
    ("schemas", "wafer_assets.domain"),
    ("wafer_assets.settings", "wafer_assets.keys", "wafer_assets.partitions", "wafer_assets.automation"),
    ("resources",),
    ("wafer_assets.operations",),
    ("wafer_assets.checks", "wafer_assets.assets"),
    ("jobs",),
    ("sensors",),
    ("wafer_assets.definitions",),
    ("wafer_assets.cli", "wafer_assets.web"),
)
SCREEN = 50  # lines
FOLDERS = ("schemas", "resources", "jobs", "sensors", "wafer_assets")
# What these projects promise nothing of; modules that start with an underscore are never promised.
UNPROMISED = (
    "dagster_shared",
    "dagster_webserver",
    "dagster_k8s",
    "mlflow.protos",
    "mlflow.utils",
    "mlflow.pyfunc.scoring_server",
)
UNPROMISED_ATTRIBUTES = {"event_log_storage", "run_storage", "daemon_cursor_storage", "run_op_concurrency"}
ADAPTERS = "resources.adapters"
HEAVY = {
    *("sklearn", "xgboost", "mlflow", "matplotlib", "scipy", "boto3", "pymongo", "kneed", "skops", "apprise"),
    *("dagster_k8s", "kubernetes"),
}
WITHOUT_TESTS = {
    "resources.bundle_pyfunc": "it runs where MLflow loads a version, which tests/resources/test_mlflow.py lets it do",
    "wafer_assets.automation": "its conditions are evaluated by tests/sensors/test_automation.py",
    "wafer_assets.cli": "it only gathers the commands, and tests/cli/test_help.py walks through all of them",
    "wafer_assets.keys": "it only names, and every test that looks into a store finds things by these names",
    "wafer_assets.web.formats": "tests/web/test_served_bundle.py sends every format to a model that reads it",
}
"""Modules that need no test file of their own, and why."""
SERVICES = {"dagster", "boto3", "botocore", "pymongo", "mlflow", "dagster_mlflow", "dagster_aws"}


def modules(folders: Sequence[str] = FOLDERS) -> list[tuple[str, Path]]:
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return [
        (".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file)
        for file in sorted(files)
    ]


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> int | None:
    for number, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes):
            return number
    return None


@pytest.mark.parametrize(("module", "file"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(module: str, file: Path) -> None:
    own = layer(module)
    if own is None:
        assert file.name == "__init__.py", f"{module} is in no layer"
        return
    for imported in imports(file):
        other = layer(imported)
        assert other is None or other <= own, f"{module} imports {imported}, which is built on top of it"


def test_everything_is_in_a_folder_of_the_house() -> None:
    top = {module for module, _ in modules() if module.count(".") == 1 and module.startswith("wafer_assets.")}
    assert top == {prefix for prefixes in LAYERS for prefix in prefixes if prefix.startswith("wafer_assets.")}


@pytest.mark.parametrize(
    ("module", "file"),
    [(module, file) for module, file in modules() if module.startswith(("wafer_assets.assets", "sensors"))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_body_is_longer_than_a_screen(module: str, file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert lines <= SCREEN, f"{module}.{node.name} has {lines} lines: what it does belongs into operations"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def own_private_members() -> set[str]:
    """Names of the private attributes and methods of our classes."""
    found: set[str] = set()
    trees = [ast.parse(file.read_text()) for _, file in modules((*FOLDERS, "deploy"))]
    for kind in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in ast.walk(kind):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return set(filter(is_private, found))


@pytest.mark.parametrize(
    ("module", "file"),
    [(module, file) for module, file in modules((*FOLDERS, "deploy")) if not module.startswith(ADAPTERS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_other_projects_keep_to_themselves_is_used_by_adapters_alone(module: str, file: Path) -> None:
    borrowed = {
        name
        for name in imports(file)
        if not name.startswith(FOLDERS) and (name.startswith(UNPROMISED) or any(map(is_private, name.split("."))))
    }
    assert not borrowed, f"{module} imports {borrowed}: do that in {ADAPTERS}"
    attributes = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    touched = set(filter(is_private, attributes)) - own_private_members() - {"_exit"}
    touched |= attributes & UNPROMISED_ATTRIBUTES
    assert not touched, f"{module} uses {touched} of another project: do that in {ADAPTERS}"


@pytest.mark.parametrize(
    ("module", "file"),
    [(module, file) for module, file in modules() if module.startswith("wafer_assets.domain")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_domain_knows_no_service(module: str, file: Path) -> None:
    used = {imported.partition(".")[0] for imported in imports(file)}
    assert not used & SERVICES, f"{module} imports {used & SERVICES}"


def test_loading_the_definitions_imports_no_heavy_library() -> None:
    script = "import sys, wafer_assets.definitions; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


def only_gathers(file: Path) -> bool:
    """Return whether a package's own module holds nothing but its docstring and imports."""
    inside = ast.parse(file.read_text()).body
    return file.name == "__init__.py" and all(
        isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        for node in inside
    )


def mirrors(file: Path) -> list[Path]:
    """Return where the tests of a module may be: in its mirror, or in one file for all of a package in a folder."""
    module = file.parent if file.name == "__init__.py" else file
    inner = [part for part in module.relative_to(ROOT).with_suffix("").parts if part != "wafer_assets"]
    if module == file.parent and len(inner) == 1:
        inner = [*inner, *inner]  # a folder's own module is tested inside the folder
    own = Path("tests", *inner[:-1], f"test_{inner[-1]}.py")
    return [own, Path("tests", inner[0], f"test_{inner[1]}.py")] if len(inner) > 2 else [own]


def test_every_module_has_its_test_file_at_the_same_place_among_the_tests() -> None:
    missing = {
        module: mirrors(file)[0]
        for module, file in modules()
        if not only_gathers(file)
        and not any((ROOT / place).exists() for place in mirrors(file))
        and module not in WITHOUT_TESTS
    }
    lines = "".join(f"\n  {module}: {place}" for module, place in missing.items())
    assert not missing, f"Write what is missing, or say in WITHOUT_TESTS why it is not needed:{lines}"


def test_exceptions_name_modules_that_there_are() -> None:
    gone = WITHOUT_TESTS.keys() - {module for module, _ in modules()}
    assert not gone, f"Take {sorted(gone)} from the exceptions: there are no such modules"
