"""Test the page in headless Chromium: files, numbers, pictures, keys, small screens."""

import shutil
import threading

import pytest
from _structures.damage import rock_salt
from _web.web_pages import results

pytest.importorskip("flask", reason="the page needs the extra `web`")
waitress = pytest.importorskip("waitress", reason="the page needs the extra `web`")
pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from sklearn_unlocknn._web.app import find_viewer  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed"
)
FLAGS = [
    "headless=new", "no-sandbox", "disable-quic", "no-first-run", "disable-sync",
    "disable-background-networking", "disable-component-update",
    "window-size=1200,900",
]  # fmt: skip
NO_WEBGL = ("disable-gpu", "disable-3d-apis")
WEBGL = ("use-gl=angle", "use-angle=swiftshader", "enable-unsafe-swiftshader")
#: Makes a drop of the files of an input on another element.
DROP = """
const data = new DataTransfer();
data.items.add(new File([arguments[1]], "dropped.cif"));
for (const name of ["dragover", "drop"]) {
  const options = {bubbles: true, cancelable: true, dataTransfer: data};
  arguments[0].dispatchEvent(new DragEvent(name, options));
}
"""


@pytest.fixture(scope="module")
def address(app):
    """Serve the application in a thread; return its address."""
    server = waitress.create_server(app, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}/"
    server.close()
    server.task_dispatcher.shutdown()
    thread.join(timeout=10)


@pytest.fixture
def open_browser(tmp_path):
    """Return a function that starts a browser of its own folder."""
    drivers = []

    def start(*flags, scripts=True):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, *flags, f"user-data-dir={tmp_path / 'profile'}"):
            options.add_argument(f"--{flag}")
        folder = {"download.default_directory": str(tmp_path / "downloads")}
        if not scripts:
            folder["profile.managed_default_content_settings.javascript"] = 2
        options.add_experimental_option("prefs", folder)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(DRIVER)
        drivers.append(webdriver.Chrome(options, service))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.quit()
        driver.service.stop()


def wait(browser, condition):
    return WebDriverWait(browser, 60).until(condition)


def predict(browser, *paths):
    """Choose files and send the form; wait for the results."""
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, paths)))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    wait(browser, lambda b: b.find_elements(By.ID, "results"))


def value(browser):
    """Return the first mean of the page."""
    text = browser.find_element(By.CSS_SELECTOR, ".value .mean").text
    return float(text.replace("\N{MINUS SIGN}", "-"))


def has_ink(browser, selector):
    """Return whether an element is visible and has a size."""
    found = browser.find_element(By.CSS_SELECTOR, selector)
    return found.is_displayed() and min(found.size.values()) > 50


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_choose_files_and_read_the_number(
    scripts, address, folder, open_browser, client
):
    browser = open_browser(*NO_WEBGL, scripts=scripts)
    browser.get(address)
    predict(browser, folder / "NaCl.cif", folder / "bad.cif")
    (one,) = results(client, ("NaCl.cif", (folder / "NaCl.cif").read_bytes()))
    assert value(browser) == pytest.approx(one["mean"], abs=one["std"] / 10)
    assert has_ink(browser, "svg.crystal")
    assert has_ink(browser, "svg.chart")
    failed = browser.find_element(By.CSS_SELECTOR, "article.failed")
    assert "bad.cif" in failed.text
    assert "no data block" in failed.text
    assert not browser.find_elements(By.CSS_SELECTOR, "button.small")  # no WebGL
    assert not browser.get_log("browser")


def test_download_is_the_table(address, folder, open_browser, tmp_path):
    browser = open_browser(*NO_WEBGL)
    browser.get(address)
    predict(browser, folder / "NaCl.cif")
    browser.find_element(By.CSS_SELECTOR, "a[download]").click()
    path = tmp_path / "downloads" / "predictions.csv"
    wait(browser, lambda b: path.is_file())
    assert path.read_text().startswith("file,mean,std,lower,upper,domain,nearest,")


@pytest.mark.skipif(find_viewer() is None, reason="chemiscope is not installed")
def test_viewer_draws_and_asks_no_other_host(address, folder, open_browser):
    browser = open_browser(*WEBGL)
    browser.get(address)
    predict(browser, folder / "NaCl.cif", folder / "POSCAR")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "[data-shown]"))
    image = browser.execute_script(
        """const host = document.querySelector("[data-shown] .structure");
        const found = [], seek = (node) => {
          if (node.localName === "canvas") found.push(node);
          for (const child of [...(node.shadowRoot?.children ?? []),
                               ...(node.children ?? [])]) seek(child);
        };
        seek(host);
        return found.map((canvas) => canvas.width * canvas.height);"""
    )
    assert max(image) > 10_000
    assert not browser.find_element(By.CSS_SELECTOR, ".drawing").is_displayed()
    names = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert names
    assert all(name.startswith((address, "data:", "blob:")) for name in names)
    assert not browser.get_log("browser")  # no violation of the policy, no error
    first, second = browser.find_elements(By.CSS_SELECTOR, "button.small")
    first.click()
    assert browser.find_element(By.CSS_SELECTOR, ".drawing").is_displayed()
    second.click()
    wait(browser, lambda b: second.text == "Show the drawing")


def test_drop_beside_the_field(address, open_browser):
    browser = open_browser(*NO_WEBGL)
    browser.get(address)
    heading = browser.find_element(By.TAG_NAME, "h1")
    browser.execute_script(DROP, heading, rock_salt().to(fmt="cif"))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    wait(browser, lambda b: b.find_elements(By.ID, "results"))
    assert browser.find_element(By.CSS_SELECTOR, ".file").text == "dropped.cif"


def test_too_much_is_said_before_it_is_sent(address, open_browser, tmp_path):
    large = tmp_path / "large.cif"
    large.write_bytes(b"#" * 3_000_000)
    browser = open_browser(*NO_WEBGL)
    browser.get(address)
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    warning = browser.find_element(By.ID, "warning")
    assert "Choose files" in warning.text
    browser.find_element(By.ID, "files").send_keys(str(large))
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    assert "large.cif has 3.00 MB, more than 2.00 MB" in warning.text


def test_keys_alone_on_a_small_screen(address, open_browser):
    browser = open_browser(*NO_WEBGL)
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)

    def press(*keys):
        webdriver.ActionChains(browser).send_keys(*keys).perform()
        return browser.switch_to.active_element

    def fits():
        root = "document.documentElement"
        return browser.execute_script(
            f"return {root}.scrollWidth <= {root}.clientWidth"
        )

    assert fits()
    names = [press(Keys.TAB).get_attribute("id") for _ in range(2)]
    assert names == ["files", "text"]
    outline = "return getComputedStyle(document.activeElement).outlineWidth"
    assert browser.execute_script(outline) == "3px"
    cell = "0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0"
    press(f"NaCl\n1\n{cell}\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n")
    assert press(Keys.TAB).tag_name == "button"
    press(Keys.ENTER)
    wait(browser, lambda b: b.find_elements(By.ID, "results"))
    assert value(browser) > 0
    assert has_ink(browser, "svg.chart")
    assert fits()
    labels = browser.execute_script(
        "return [...document.querySelectorAll('input, textarea')]"
        ".map((field) => field.labels.length)"
    )
    assert labels == [1, 1]


def test_back_to_the_form_can_send_again(address, folder, open_browser):
    browser = open_browser(*NO_WEBGL)
    browser.get(address)
    predict(browser, folder / "NaCl.cif")
    predict(browser, folder / "POSCAR")
    assert browser.find_element(By.CSS_SELECTOR, ".file").text == "POSCAR"
