"""The page as a browser shows it: headless Chromium, where there is one."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from report_runs import write_full, write_study
from sweeping import PATIENCE

from nnexp.compare import read_rows
from nnexp.compare.comparison import Question
from nnexp.report import PageHead, make_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000",
)  # fmt: skip
PROBE = """
const table = document.querySelector("table.sortable");
const column = [...table.tHead.rows[0].cells].at(-1);
const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
const button = column.querySelector("button");
const found = { before: order(), states: [], orders: [] };
button.focus();
found.focused = document.activeElement === button;
for (const click of [1, 2]) {
  button.click();
  found.orders.push(order());
  found.states.push(column.getAttribute("aria-sort"));
}
found.images = [...document.images].map((one) => one.complete && one.naturalWidth > 0);
found.requests = performance.getEntriesByType("resource")
  .map((one) => one.name).filter((name) => !name.startsWith("data:"));
const wide = [...document.querySelectorAll(".box")]
  .filter((box) => box.scrollWidth > box.clientWidth && box.querySelector("tbody th"));
found.scrolled = wide.length;
found.stuck = wide.map((box) => {
  box.scrollLeft = 80;
  const first = box.querySelector("tbody th").getBoundingClientRect();
  return Math.abs(first.left - box.getBoundingClientRect().left) <= 2;
});
found.overflow = document.documentElement.scrollWidth - innerWidth;
location.hash = document.querySelector("details[id]").id;
addEventListener("hashchange", () => {
  found.opened = document.querySelector("details[id]").open;
  document.body.dataset.found = JSON.stringify(found);
});
"""


USE = """
const found = {};
const press = (key, on) => on.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const faded = () => [...new Set(all(".faded").map((one) => one.dataset.arm))];
const shown = () => all("#all-runs tbody tr").filter((row) => !row.hidden).length;
const arm = (name) => all(".legend [data-arm]").find((one) => one.innerText.trim() === name);

const button = arm("group").querySelector("button");
button.focus();
found.focused = document.activeElement === button;
button.click();
found.alone = all('.legend [aria-pressed="true"]').map((one) => one.innerText.trim());
found.faded = faded().length;
found.kept = all(".faded").filter((one) => one.dataset.arm === arm("group").dataset.arm).length;
button.click();
found.again = faded().length;

const mark = document.querySelector(".forest .mark");
mark.focus();
found.told = document.querySelector(".forest .readout").textContent;
found.label = mark.getAttribute("aria-label");
found.lit = ["tr", ".mark", ".curve g"].map((one) => all(`${one}.lit`).length > 0);

document.querySelector("#runs details").open = true;
const box = document.querySelector(".filter input");
for (const words of ["none 32", "nothing", ""]) {
  box.value = words;
  box.dispatchEvent(new Event("input"));
  found[`rows of ${words}`] = shown();
}
found.count = document.querySelector(".filter output").value;

const panel = document.querySelector(".curve");
const plot = panel.querySelector(".plot");
const whole = plot.getAttribute("viewBox");
panel.focus();
press("ArrowRight", panel);
found.values = panel.closest("figure").querySelector(".readout").textContent;
press("+", panel);
found.zoomed = plot.getAttribute("viewBox") !== whole;
press("Escape", panel);
found.whole = plot.getAttribute("viewBox") === whole;
const place = panel.getBoundingClientRect();
const mouse = (kind, x, y) => new PointerEvent(kind, {
  clientX: place.left + x * place.width, clientY: place.top + y * place.height,
  bubbles: true, pointerType: "mouse",
});
panel.dispatchEvent(mouse("pointerdown", 0.3, 0.5));
panel.dispatchEvent(mouse("pointerup", 0.8, 0.5));
found.dragged = Number(plot.getAttribute("viewBox").split(" ")[2]) < Number(whole.split(" ")[2]);
panel.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
found.back = plot.getAttribute("viewBox") === whole;
document.body.dataset.found = JSON.stringify(found);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a small grid with a diverged run."""
    folder = tmp_path_factory.mktemp("browser")
    write_study(folder / "runs")
    write_full(folder / "runs", "none", None, rate=0.5, status="diverged")
    html = make_page(read_rows([folder / "runs"]), Question(), PageHead())
    path = folder / "report.html"
    path.write_text(html, "utf-8")
    return path


def look(address: str, profile: Path, width: int = 1280) -> tuple[str, list[str]]:
    """Return the page's elements after its scripts have run, and what its console said."""
    size = (f"--user-data-dir={profile}", f"--window-size={width},900")
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *size, "--dump-dom", address],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def with_script(page: Path, script: str) -> Path:
    """Return a copy of a page with one more script, which its policy is made to allow."""
    html = page.read_text("utf-8")
    html = re.sub(r"script-src '[^']+'", "script-src 'unsafe-inline'", html)
    copy = page.with_name(f"probed-{len(script)}.html")
    copy.write_text(html.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    return copy


def test_page_says_nothing_on_the_console_and_its_own_script_is_allowed(page, tmp_path):
    elements, console = look(page.as_uri(), tmp_path / "profile")
    assert console == []
    assert re.search(r"<th [^>]*><button type=\"button\">norm</button>", elements)


def found_by(script: str, page: Path, profile: Path, width: int = 1280) -> dict:
    """Return what a script finds on the page, of which the console says nothing."""
    elements, console = look(with_script(page, script).as_uri(), profile, width)
    assert console == []
    (held,) = re.findall(r'data-found="([^"]*)"', elements)
    return json.loads(unescape(held))


def test_legend_isolates_marks_tell_values_rows_are_filtered_and_curves_zoom(page, tmp_path):
    found = found_by(USE, page, tmp_path / "profile")
    assert found["focused"]
    assert set(found["alone"]) == {"group"}
    assert (found["faded"], found["kept"], found["again"]) == (2, 0, 0)
    assert re.fullmatch(r"group, .+: .+ points \(.+ to .+\), (not )?shown to differ", found["told"])
    assert found["label"] == found["told"]
    assert found["lit"] == [True, True, True]
    assert found["rows of none 32"] == 4
    assert found["rows of nothing"] == 0
    assert found["rows of "] == 19
    assert found["count"] == "19 of 19 rows"
    assert re.search(r"^train loss, epoch \d: batch [\d.]+, group [\d.]+", found["values"])
    assert found["zoomed"]
    assert found["whole"]
    assert found["dragged"]
    assert found["back"]


def test_page_without_scripts_has_the_answer_the_plot_and_the_curves(page, tmp_path):
    bare = page.with_name("bare-of-scripts.html")
    html = page.read_text("utf-8")
    bare.write_text(re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL), "utf-8")
    script = """
    const seen = (one) => one.getBoundingClientRect().width > 0;
    document.body.dataset.found = JSON.stringify({
      marks: [...document.querySelectorAll(".mark .point use")].filter(seen).length,
      lines: [...document.querySelectorAll(".curve polyline")].filter(seen).length,
      label: document.querySelector(".forest .plot").getAttribute("role"),
      overflow: document.documentElement.scrollWidth - innerWidth,
    });
    """
    for width in (390, 1280):
        found = found_by(script, bare, tmp_path / f"profile-{width}", width)
        assert found["marks"] > 2
        assert found["lines"] > 8
        assert found["label"] == "img"
        assert found["overflow"] <= 0


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_tables_sort_images_show_links_open_and_nothing_is_wider_than_the_screen(
    page, tmp_path, width
):
    found = found_by(PROBE, page, tmp_path / "profile", width)
    assert found["before"] == ["batch", "group", "none"]
    assert found["orders"] == [["none", "group", "batch"], ["batch", "group", "none"]]
    assert found["states"] == ["ascending", "descending"]
    assert found["focused"]
    assert found["opened"]
    assert len(found["images"]) > 2
    assert all(found["images"])
    assert found["requests"] == []
    assert found["overflow"] <= 0
    assert (found["scrolled"] > 0) == (width < 1000)
    assert all(found["stuck"])


def screenshot(page: Path, folder: Path, *flags: str) -> np.ndarray:
    """Return what is seen of a page and all below it: height × width × colours."""
    folder.mkdir()
    size = (f"--user-data-dir={folder}", "--window-size=1100,7000")
    image = folder / "page.png"
    command = [str(CHROMIUM), *FLAGS, *size, *flags, f"--screenshot={image}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
    return np.asarray(Image.open(image).convert("RGB"), dtype=int)


def test_figures_are_dark_where_the_reader_asks_for_dark_pages(page, tmp_path):
    light = screenshot(page, tmp_path / "light")
    dark = screenshot(page, tmp_path / "dark", "--blink-settings=preferredColorScheme=0")
    assert (light > 240).all(axis=-1).mean() > 0.5
    assert (dark > 240).all(axis=-1).mean() < 0.01
    batch = np.array([0x96, 0xD4, 0xFF])  # its dark blue, turned into a light one
    assert (abs(dark - batch).max(axis=-1) < 4).sum() > 100


@contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    """Give the address of a server, and the list of what is asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_policy_keeps_even_a_page_that_was_tampered_with_from_the_network(page, tmp_path):
    with serving() as (address, asked):
        bare = page.with_name("bare.html")
        bare.write_text(f'<img src="{address}/seen">', "utf-8")
        look(bare.as_uri(), tmp_path / "first")
        assert "/seen" in asked
        asked.clear()
        script = f'fetch("{address}/fetched"); new Image().src = "{address}/image";'
        look(with_script(page, script).as_uri(), tmp_path / "second")
        assert asked == []
