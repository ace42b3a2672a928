"""A report in real Chromium: from disk, on large and small screens, in print."""

import base64
import shutil

import numpy as np
import pytest
from _report.conftest import make_data

from sklearn_unlocknn import VGPRegressor, write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver"
)
OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --hide-scrollbars --host-resolver-rules=MAP*~NOTFOUND"""
#: Elements that reach beyond the window, unless they scroll by themselves.
BEYOND = """
const inside = e => e.closest('.picture, .table, thead') !== null;
return [...document.querySelectorAll('body *')].filter(e =>
    e.getBoundingClientRect().right > window.innerWidth + 1 && !inside(e)
).map(e => e.tagName);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS.split():
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the address of a report with all parts and long names."""
    path = tmp_path_factory.mktemp("browser") / "report.html"
    X, y = make_data(80)
    X_test, y_test = make_data(120, seed=1)
    y_test[3] = np.nan
    model = VGPRegressor("rbf", max_iter=3, random_state=0).fit(X, y)
    write_report(
        model, X_test, y_test, path, target="shear_modulus_" * 6, unit="GPa",
        groups=["group_" * 20, "b"] * 60, names=["a/long/folder_" * 9] * 120,
        structures=["NaCl", "CuBr"] * 60,
    )  # fmt: skip
    return path.as_uri()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("width", [1200, 768, 360])
def test_page_fits_the_window_and_is_complete(browser, page, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {**size, "mobile": width < 500}
    )
    browser.get(page)
    assert browser.get_log("browser") == []
    assert "shear_modulus_" in browser.title
    loaded = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth > 0)"
    )
    assert loaded == [True] * 7
    assert browser.execute_script(BEYOND) == []
    whole = browser.execute_script("return document.documentElement.scrollWidth")
    assert whole <= width
    # the style of the page is applied, as its policy allows
    border = (
        "return getComputedStyle(document.querySelector('.verdict')).borderLeftWidth"
    )
    assert browser.execute_script(border) == "8px"
    requests = browser.execute_script(
        "return performance.getEntriesByType('resource')"
        ".map(e => e.name).filter(name => !name.startsWith('data:'))"
    )
    assert requests == []


def test_print_has_pages_of_paper(browser, page):
    browser.get(page)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert 4 <= content.count(b"/Type /Page\n") <= 12
    # A4 in points
    assert b"/MediaBox [0 0 594.95" in content or b"/MediaBox [0 0 595" in content
