"""Try the Dagster UI as a user does, in a headless browser on the state of `wafer demo`, and take screenshots.

Run with ``python -m tests.screenshots --help``. Every page that shows an error fails the script.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import click
import requests
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from resources.local_services import free_port

T = TypeVar("T")

# Files that the demo simulates.
ACCEPTED = ("wafer_06012020_060700.csv", "wafer_06012020_174700.csv", "wafer_07012020_052700.csv")
REFUSED = "wafer_01012019_000020.csv"
SCORED = "wafer_13012020_012700.csv"

ERRORS = re.compile(
    r"something went wrong|pythonerror|graphql error|an unexpected error|asset not found|could not be found|"
    r"no assets were found|no longer exists|does not exist|failed to load|definition not found|error loading|"
    r"run not found|no such run|page not found",
    re.IGNORECASE,
)
ERROR_TOAST = "[data-sonner-toast] :is([aria-label=error], [aria-label=warning]), [class*=intent-danger]"
NOISE = ("favicon.ico",)
FAILURES = """{
  sensorsOrError(
    repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "wafer_assets.definitions"}
  ) { ... on Sensors { results { name sensorState { ticks(statuses: [FAILURE]) { error { message } } } } } }
  runsOrError(filter: {statuses: [FAILURE, CANCELED]}) { ... on Runs { results { runId } } }
  partitionBackfillsOrError(limit: 100) { ... on PartitionBackfills { results { id status } } }
}"""
MAX_BYTES = 300_000
SECONDS = 30.0  # for a page
RUN_SECONDS = 180.0


class PageError(Exception):
    """A page shows an error, or does not show what it should."""


class UI:
    """The Dagster UI in a browser, and the folder of the screenshots."""

    def __init__(self, driver: webdriver.Chrome, address: str, out: Path) -> None:
        self.driver, self.address, self.out = driver, address, out

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait(self, what: str, found: Callable[[], T], seconds: float = SECONDS) -> T:
        """Return what is found as soon as it is there; React may replace elements while one looks at them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if result := found():
                    return result
            except WebDriverException:
                pass
            time.sleep(0.2)
        self.check()
        raise PageError(f"no {what} within {seconds:g} s; it shows: {self.text[-600:]}")

    def open(self, path: str, *expected: str) -> None:
        """Open a page, wait for what it should show and refuse errors."""
        self.driver.get(self.address + path)
        self.see(*expected)

    def see(self, *expected: str, seconds: float = SECONDS, never: str | None = None) -> None:
        """Wait for all texts; `never` is a text that ends the waiting."""

        def shown() -> bool:
            text = self.text
            if never and never in text:
                raise PageError(f"{never}. It shows: {text[-600:]}")
            return all(item in text for item in expected)

        self.wait(f"text {expected}", shown, seconds)
        self.check()

    def click(self, xpath: str) -> None:
        """Click the last element of an XPath: dialogs come last."""

        def clicked() -> bool:
            elements = [item for item in self.driver.find_elements(By.XPATH, xpath) if _ready(item)]
            if elements:
                elements[-1].click()
            return bool(elements)

        self.wait(f"element {xpath}", clicked)

    def follow_launched(self) -> None:
        """Open the run or backfill that the message about its launch leads to."""
        links = (By.CSS_SELECTOR, "[data-sonner-toast] a[href]")
        address = self.wait("message of a launch", lambda: self.driver.find_element(*links).get_attribute("href"))
        self.check()
        self.driver.get(str(address))

    def check(self) -> None:
        """Refuse a page that shows an error or logged one."""
        found = [match[0] for match in ERRORS.finditer(self.text)]
        found += [item.text or "error message" for item in self.driver.find_elements(By.CSS_SELECTOR, ERROR_TOAST)]
        found += [
            str(entry["message"])
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and not any(noise in entry["message"] for noise in NOISE)
        ]
        if found:
            raise PageError("; ".join(found))

    def shoot(self, name: str) -> None:
        """Save a screenshot of a page without errors."""
        time.sleep(1)  # until what moves has come to rest
        self.check()
        file = self.out / f"{name}.png"
        self.driver.save_screenshot(str(file))
        if file.stat().st_size > MAX_BYTES:
            raise PageError(f"{file} has {file.stat().st_size} bytes, more than {MAX_BYTES}")
        click.echo(f"{file}  {self.driver.current_url}")


def _ready(element: WebElement) -> bool:
    return element.is_displayed() and element.is_enabled()


def _button(text: str) -> str:
    return f"//*[self::button or self::a][starts-with(normalize-space(.), '{text}')]"


def refuse_what_is_not_there(ui: UI) -> None:
    """Prove that a page with an error is refused."""
    for path in ("/assets/secom/training/no_such_asset", "/runs/00000000-0000-0000-0000-000000000000"):
        ui.driver.get(ui.address + path)
        try:
            ui.wait("end of the proof", lambda: ui.check(), 10)
        except PageError as error:
            if "no end of the proof" not in str(error):
                continue
        raise PageError(f"{path} does not exist, and its page was not refused")


def materialize(ui: UI) -> None:
    """Materialize an asset by its button and wait for the run."""
    ui.open("/assets/secom/training/elbow?view=overview", "Latest materialization", "is_knee")
    ui.click(_button("Materialize"))
    ui.follow_launched()
    ui.see("Success", "elbow", seconds=RUN_SECONDS, never="Failure")
    ui.shoot("materialize")


def backfill(ui: UI) -> None:
    """Choose three partitions in the dialog, launch, and wait for the backfill."""
    ui.open("/assets/secom/training/validated_batches?view=partitions", ACCEPTED[0][:12])
    ui.click(_button("Materialize"))
    ui.click("//*[text()='Select a partition or create one']")
    for batch in ACCEPTED:
        ui.click("//input[@placeholder='Filter partitions']")
        field = ui.driver.switch_to.active_element
        field.clear()
        field.send_keys(batch)
        ui.click(f"//label[@for]/following::*[@title='{batch}']")
    ui.click("//*[normalize-space(text())='Partition selection']")
    ui.see("3 partitions")
    ui.click(_button("Launch backfill"))
    ui.follow_launched()
    ui.see("Status\nSucceeded", "100% completed", *ACCEPTED, seconds=RUN_SECONDS, never="Status\nFailed")
    ui.open(f"{urlsplit(ui.driver.current_url).path}?tab=runs", "Success", *ACCEPTED)
    if (runs := ui.text.count("View all tags")) != 1:
        raise PageError(f"{runs} runs instead of one")
    ui.shoot("backfill")


def lineage(ui: UI) -> None:
    """Follow predictions back to their files."""
    selection = '+key:"secom/prediction/predictions" and (key:"secom/prediction/*" or group:"secom_models")'
    groups = ",".join(f"global@global:secom_{group}" for group in ("ingestion", "models", "prediction"))
    path = f"/asset-groups~{quote(selection, safe='')}?expanded={quote(groups, safe='')}"
    ui.open(path, "raw_batches", "validated_batches", "wafer_records", "champion", "predictions")
    ui.shoot("lineage")
    ui.click("//*[local-name()='foreignObject']//*[normalize-space(text())='raw_batches']")
    ui.see("A batch file as the partner dropped it")
    ui.open(f"/assets/secom/prediction/predictions?view=partitions&partition={SCORED}", "inspection_list", "report")
    ui.open(
        f"/assets/secom/prediction/raw_batches?view=partitions&partition={SCORED}",
        f"s3://landing/secom/prediction/{SCORED}",
    )


def checks(ui: UI) -> None:
    """Look at check results and plots."""
    ui.open("/assets/secom/training/evaluation?view=checks", "better_than_chance", "Passed", "auc_low")
    ui.shoot("checks")
    ui.open("/assets/secom/training/evaluation?view=overview", "Latest check results", "plot_metrics")
    ui.click("//tr[contains(., 'plot_metrics')]//*[contains(text(), 'Show Markdown')]")
    ui.wait("plot", lambda: ui.driver.find_elements(By.CSS_SELECTOR, "img[src^='data:image']"))
    ui.shoot("plots")


def quarantine(ui: UI) -> None:
    """Look at the reasons why a file was refused."""
    ui.open(
        f"/assets/secom/training/quarantined_batches?view=partitions&partition={REFUSED}",
        "reasons",
        "remedy",
        "wafer_id_repeated",
    )
    ui.shoot("quarantine")


def background(ui: UI) -> None:
    """Refuse ticks, runs and backfills that failed meanwhile: their pages load such details late, or never."""
    ui.open("/automation", "score_new_records")
    ui.open("/deployment/locations", "wafer_assets.definitions", "Loaded")
    answer = requests.post(f"{ui.address}/graphql", json={"query": FAILURES}, timeout=30).json()
    if "errors" in answer:
        raise PageError(f"GraphQL: {answer['errors']}")
    sensors = answer["data"]["sensorsOrError"]["results"]
    failed = [f"sensor {item['name']}: {ticks}" for item in sensors if (ticks := item["sensorState"]["ticks"])]
    failed += [f"run {run['runId']}" for run in answer["data"]["runsOrError"]["results"]]
    backfills = answer["data"]["partitionBackfillsOrError"]["results"]
    failed += [f"backfill {item['id']}" for item in backfills if re.search("FAIL|CANCEL", item["status"])]
    if not sensors or failed:
        raise PageError(f"failed: {'; '.join(failed) or 'there are no sensors'}")


STEPS = (refuse_what_is_not_there, materialize, backfill, lineage, checks, quarantine, background)


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start headless Chromium, the one that is installed."""
    paths = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in paths.items() if path is None]:
        raise click.ClickException(f"{' and '.join(missing)} not found: install the packages of your Linux.")
    os.environ["SE_OFFLINE"] = "true"  # nothing is downloaded
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths["chromium"])
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1600,1160"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(str(paths["chromedriver"])))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def dagster(state: Path) -> Iterator[str]:
    """Serve the UI on a state folder, made by `wafer demo` if it is not there; yield the address."""
    wafer = str(Path(sys.executable).with_name("wafer"))
    environment = {**os.environ, "WAFER_STATE_DIR": str(state.absolute()), "WAFER_RETRAINING__ENABLED": "false"}
    if not (state / "summary.json").exists():
        subprocess.run([wafer, "demo"], env=environment, check=True)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    # A handler of our own, because an ignored signal stays ignored in the processes that one starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with (
        (state / "logs" / "screenshots.log").open("w") as log,
        subprocess.Popen([wafer, "dev", "--port", str(port)], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            end = time.monotonic() + 120
            while not _serves(address):
                if process.poll() is not None or time.monotonic() > end:
                    raise click.ClickException(f"`wafer dev` serves nothing; see {log.name}")
                time.sleep(0.5)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _serves(address: str) -> bool:
    try:
        return requests.get(f"{address}/server_info", timeout=5).ok
    except requests.ConnectionError:
        return False


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state", type=click.Path(path_type=Path), default=Path(".wafer"), show_default=True, help="State folder."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True, help="For the PNGs.")
def main(state: Path, out: Path) -> None:
    """Try the Dagster UI on the demo's state and take screenshots; runs `wafer demo` if there is no state yet."""
    out.mkdir(parents=True, exist_ok=True)
    with browser() as driver, dagster(state) as address:
        ui = UI(driver, address, out)
        for step in STEPS:
            try:
                step(ui)
            except (PageError, WebDriverException) as error:
                raise click.ClickException(f"{step.__name__}: {driver.current_url}: {error}") from error


if __name__ == "__main__":
    main()
