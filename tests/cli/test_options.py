"""Values that no command takes: each is a usage error, before anything is started or written."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from schemas.lines import SHIPPED
from tests.shell import call
from wafer_assets.cli import main
from wafer_assets.cli.training import train
from wafer_assets.domain.config import ModelConfig

OUT_OF_DOMAIN = [
    ("seed", "-1", "at least 0"),
    ("max_missing", "1", "above 0 and below 1"),
    ("min_missing", "0.5", "above 0 and below 0.5"),
    ("clip", "0", "above 0"),
    ("n_components", "0", "at least 1"),
    ("k", "-3", "a whole number, at least 1, or null"),
    ("k_max", "2", "at least 3"),
    ("knee_sensitivity", "0", "above 0"),
    ("k_fallback", "null", "a whole number, at least 1."),
    ("folds", "2.5", "a whole number, at least 2."),
    ("n_sensors", "0", "at least 1"),
    ("shrinkage", "-0.1", "at least 0"),
    ("xgboost_trees", "0", "at least 1"),
    ("xgboost_depth", "11", "at least 1 and at most 10"),
    ("xgboost_learning_rate", "1.5", "above 0 and at most 1"),
    ("xgboost_l2", "-1", "at least 0"),
    ("forest_trees", "0", "at least 1"),
    ("forest_depth", "0", "at least 1 and at most 10"),
    ("forest_leaf", "0", "at least 1"),
    ("forest_draws", "1", "at least 2"),
    ("capacity", "1", "above 0 and below 1"),
    ("cost_ratio", "0", "a number, above 0, or null"),
]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def require_refused(folder: Path, arguments: list[str], *messages: str) -> None:
    before = sorted(folder.rglob("*"))
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for message in messages:
        assert message in " ".join(result.output.split())
    assert sorted(folder.rglob("*")) == before  # no state folder, so no service, run or lock either


def test_every_hyperparameter_has_a_value_that_it_refuses() -> None:
    assert {name for name, *_ in OUT_OF_DOMAIN} == set(ModelConfig.model_fields)


@pytest.mark.parametrize(("name", "value", "allowed"), OUT_OF_DOMAIN)
def test_a_hyperparameter_out_of_its_domain_is_refused_with_what_is_allowed(
    folder: Path, name: str, value: str, allowed: str
) -> None:
    require_refused(folder, ["train", "--set", f"{name}={value}"], f"{name} is {value}, and must be", allowed)


def test_a_number_beyond_all_others_is_refused(folder: Path) -> None:
    require_refused(folder, ["train", "--set", f"clip=1{400 * '0'}"], "clip is 1000", "must be a number, above 0")
    require_refused(folder, ["train", "--set", f"clip=1{5_000 * '0'}"], "not a number or null")


def test_all_wrong_hyperparameters_are_named_at_once(folder: Path) -> None:
    require_refused(folder, ["train", "--set", "k=-3", "--set", "capacity=2"], "k is -3", "capacity is 2")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("depth=3", "xgboost_depth"),
        ("k", "NAME=VALUE"),
        ("k=", "not a number or null"),
        ("k=true", "not a number or null"),
        ('k="3"', "not a number or null"),
        ("k=[3]", "not a number or null"),
        ("clip=NaN", "not a number or null"),
        ("clip=Infinity", "not a number or null"),
        ("clip=1e999", "not a number or null"),
    ],
)
def test_what_is_no_hyperparameter_is_refused(folder: Path, override: str, message: str) -> None:
    require_refused(folder, ["train", "--set", override], message)


def test_two_values_for_one_hyperparameter_are_refused(folder: Path) -> None:
    require_refused(folder, ["train", "--set", "k=3", "--set", "k=4"], "k is given twice: as 3 and as 4")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--repeats", "0"],
        ["train", "--repeats", "x"],
        ["simulate", "--out", "out", "--wafers", "0"],
        ["simulate", "--out", "out", "--wafers", "1000000000"],
        ["simulate", "--out", "out", "--batches", "0"],
        ["simulate", "--out", "out", "--batches", "-3"],
        ["simulate", "--out", "out", "--seed", "-1"],
        ["simulate", "--out", "out", "--feed", "neither"],
        ["simulate"],
        ["upload"],
        ["upload", "nothing.csv"],
        ["upload", "."],
        ["ingest", "--all", "--from", "a.csv"],
        ["ingest", "--all", "--to", ""],
        ["score", "--all", "--from", "a.csv", "--to", "b.csv"],
        ["models", "promote", "0", "--reason", "x"],
        ["models", "promote", "1"],
        ["models", "promote", "1", "--reason", " "],
        ["models", "rollback", "--reason", ""],
        ["models", "rollback", "--reason", "x", "--to", "-1"],
        ["predict", "nothing.csv"],
        ["predict", "--version", "0", "x.csv"],
        ["report"],
        ["trace"],
        ["quarantine", "show"],
        ["demo", "nothing"],
        ["demo", "."],
        ["demo", "--predict", "."],
        ["dev", "--port", "0"],
        ["dev", "--port", "65536"],
        ["serve", "--port", "-1"],
        ["serve", "--workers", "0"],
        ["serve", "--workers", "1000"],
        ["serve", "--host", "no such host"],
        ["serve", "--host", "192.0.2.1"],
        ["services", "restart"],
    ],
    ids=" ".join,
)
def test_what_a_command_cannot_take_is_refused_before_anything_starts(folder: Path, arguments: list[str]) -> None:
    require_refused(folder, arguments, "Error: ")


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_port_of_another_program_is_refused_before_the_services_start(folder: Path, taken: int, command: str) -> None:
    require_refused(folder, [command, "--port", str(taken)], "--port", str(taken), "a free one is chosen")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("file", "is a file"),
        ("file/inner", "is not a folder"),
        ("file/inner/innermost", "is not a folder"),
        ("dangling", "is not a folder"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_refused(folder: Path, out: str, message: str) -> None:
    Path("file").write_text("x")
    Path("dangling").symlink_to("nowhere")
    Path("wafer.csv").write_text("x")
    require_refused(folder, ["simulate", "--out", out], "--out", message)
    require_refused(folder, ["predict", "wafer.csv", "--out", out], "--out", message)
    assert Path("file").read_text() == "x"


@pytest.mark.parametrize(
    ("out", "message"),
    [("inner", "is a directory"), ("none/page.html", "is not a folder"), ("file/page.html", "is not a folder")],
)
def test_a_file_that_cannot_be_written_is_refused(folder: Path, out: str, message: str) -> None:
    Path("file").write_text("x")
    Path("inner").mkdir()
    require_refused(folder, ["report", "wafer.csv", "--out", out], "--out", message)


def test_a_place_without_the_right_to_write_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("inner").mkdir()
    # Whoever runs the tests may be root, who may write anywhere.
    monkeypatch.setattr("os.access", lambda path, _: Path(path).name != "inner")
    require_refused(folder, ["simulate", "--out", "inner/out"], "--out", "cannot be written to")
    require_refused(folder, ["report", "x", "--out", "inner/page.html"], "--out", "cannot be written to")


def test_results_take_the_place_of_no_file_that_was_scored_and_not_of_one_another(folder: Path) -> None:
    for place in ("a", "b"):
        Path(place).mkdir()
        Path(place, "wafer.csv").write_text(place)
    require_refused(folder, ["predict", "a/wafer.csv", "--out", "a"], "would be lost")
    require_refused(folder, ["predict", "a/wafer.csv", "--out", "b/../a"], "would be lost")
    require_refused(folder, ["predict", "a/wafer.csv", "b/wafer.csv", "--out", "c"], "two results")
    assert Path("a/wafer.csv").read_text() == "a"


# --- Which line ---


@pytest.fixture
def two_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that declares a second line."""
    lines = tmp_path / "lines"
    shutil.copytree(SHIPPED / "secom", lines / "etch")
    declaration = lines / "etch" / "line.yaml"
    declaration.write_text(declaration.read_text().replace("line: secom", "line: etch"))
    monkeypatch.setenv("WAFER_LINES", str(lines))
    return lines


def commands_of(group: click.Group, *path: str) -> Iterator[tuple[list[str], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, *path, name)
        else:
            yield [*path, name], command


OF_A_LINE = [words for words, command in commands_of(main) if any(each.name == "line" for each in command.params)]
LINELESS = {"lines", "services", "dev", "metrics"}


def test_every_command_but_those_about_the_platform_takes_a_line() -> None:
    assert {words[0] for words, _ in commands_of(main)} - {words[0] for words in OF_A_LINE} == LINELESS


def parsed_line(*arguments: str) -> str:
    return str(train.make_context("train", [*arguments]).params["line"].name)


def test_the_only_line_is_meant_where_none_is_named(folder: Path) -> None:  # noqa: ARG001
    assert parsed_line() == parsed_line("--line", "secom") == "secom"


def test_one_of_several_lines_is_meant_where_it_is_named(folder: Path, two_lines: Path) -> None:  # noqa: ARG001
    assert [parsed_line("--line", name) for name in ("etch", "secom")] == ["etch", "secom"]


REST = {
    "upload": ["wafer.csv"],
    "simulate": ["--out", "out"],
    "models promote": ["1", "--reason", "x"],
    "models rollback": ["--reason", "x"],
    "quarantine show": ["a.csv"],
    "quarantine release": ["a.csv", "--reason", "x"],
    "check": ["wafer.csv"],
    "report": ["a.csv"],
    "trace": ["W-1"],
    "predict": ["wafer.csv"],
}


@pytest.mark.parametrize("words", OF_A_LINE, ids=" ".join)
def test_where_there_are_several_lines_a_command_asks_which_and_refuses_an_unknown_one(
    folder: Path,
    two_lines: Path,  # noqa: ARG001
    words: list[str],
) -> None:
    Path("wafer.csv").write_text("x")
    rest = REST.get(" ".join(words), [])
    require_refused(folder, [*words, *rest], "Say with --line which line is meant: etch, secom.")
    require_refused(folder, [*words, "--line", "nobody", *rest], "There is no line 'nobody'; there are etch, secom.")


def test_a_line_that_cannot_be_read_is_named_where_it_is_meant_or_none_is(folder: Path, two_lines: Path) -> None:
    (two_lines / "etch" / "line.yaml").write_text("format: 1\nline: etch\ncolour: red\n")
    require_refused(folder, ["train"], "which line is meant: secom.", "etch/line.yaml")
    meant = call("train", "--line", "etch")
    assert (meant.exit_code, "etch/line.yaml" in meant.output) == (1, True)
    assert parsed_line("--line", "secom") == "secom"
