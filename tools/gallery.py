"""The gallery: pictures of what commands write, and the page that shows them.

    keras-flan quickstart
    python tools/gallery.py runs/quickstart [--only NAME ...]

Runs the command of each picture, opens the page that it wrote in a headless
Chromium, and writes `docs/gallery/<name>.png` and `docs/gallery.md`. Some ten
minutes on two CPU cores. Needs the extra `[test]`, and a Chromium with its
driver.
"""

import argparse
import base64
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FOLDER, PAGE = ROOT / "docs" / "gallery", ROOT / "docs" / "gallery.md"
WIDTH, HEIGHT = 900, 800
HEAD = """# Gallery

What the commands write, as it looks: each picture below the command that made
it. All pages are files that open offline. `tools/gallery.py` makes this page
from the model of `keras-flan quickstart`.
"""


class Picture(NamedTuple):
    """A picture of a page.

    Args:
        name: Of the file.
        title: What it shows.
        commands: Those that write the page; `RUN` is a quickstart's folder.
        page: The page, in the folder where they run.
        part: The heading of what is shown, or the page's beginning. Of one
            with a `*` it is the first section of that name that has all that
            is in `holds`.
        holds: See `part`.
    """

    name: str
    title: str
    commands: tuple[str, ...]
    page: str
    part: str = ""
    holds: tuple[str, ...] = ()


_EVALUATE = (
    "keras-flan evaluate --model RUN/model --benchmark records "
    "--data tf_records/quickstart --split test --limit 10 --mode {mode} "
    "--output scores/{mode}"
)
PICTURES = (
    Picture(
        "quickstart",
        "Before and after finetuning, and the loss between",
        ("keras-flan quickstart",),
        "RUN/report.html",
    ),
    Picture(
        "votes",
        "Eight paths of reasoning, their answers, and the vote",
        (
            "keras-flan generate --model RUN/model --cot --samples 8 "
            "--kind number --output votes --prompt 'The cafeteria had 23 "
            "apples. If they used 20 for lunch and bought 6 more, how many "
            "apples do they have?'",
        ),
        "votes/trace.html",
    ),
    Picture(
        "mixture",
        "What a mixture trains on",
        (
            "keras-flan mixture examples/universe.yaml --vocabulary flan_nano "
            "--input-length 192 --target-length 96 --report mixture.html",
        ),
        "mixture.html",
        "Formats",
    ),
    Picture(
        "reliability",
        "Scores with intervals, and whether a clear vote is a right one",
        (
            _EVALUATE.format(mode="direct"),
            _EVALUATE.format(mode="cot") + " --samples 8",
            "keras-flan report scores --output scores/report",
        ),
        "scores/report/report.html",
        "Reliability of the votes",
    ),
    Picture(
        "chains",
        "A chain of thought: what each step weighs, and where it breaks",
        (
            _EVALUATE.format(mode="cot") + " --samples 8",
            "keras-flan faithfulness scores/cot --model RUN/model --limit 20 "
            "--output chains",
        ),
        "chains/chains.html",
        "Chain *",
        (" + ", " - "),
    ),
    Picture(
        "training",
        "The loss of a training",
        ("keras-flan quickstart",),
        "RUN/training.html",
        "Loss",
    ),
)
# What is printed, and reads well as it is.
PLAN = "keras-flan plan --preset flan_t5_xl --suggest --max-chips 32"


def run(command: str, quickstart: Path, folder: Path) -> str:
    """Runs a command in a folder; returns what it printed."""
    words = [
        word.replace("RUN", str(quickstart)) for word in shlex.split(command)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "keras_flan.cli", *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


def shoot(picture: Picture, page: Path) -> None:
    """Writes the picture of a page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in ("headless=new", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{option}")
    browser = webdriver.Chrome(
        options, webdriver.ChromeService(shutil.which("chromedriver"))
    )
    try:
        browser.set_window_size(WIDTH, HEIGHT)
        browser.get(page.resolve().as_uri())
        FOLDER.mkdir(exist_ok=True)
        file = str(FOLDER / f"{picture.name}.png")
        if not picture.part:
            browser.save_screenshot(file)
            return
        held = "".join(f"[contains(., '{text}')]" for text in picture.holds)
        name = picture.part.rstrip("*")
        path = f"//section[h2[starts-with(., '{name}')]]{held}"
        found = browser.find_element("xpath", path)
        # The driver's own picture of an element ends at the window.
        place = browser.execute_script(
            "const box = arguments[0].getBoundingClientRect(); return "
            "[box.x, box.y + scrollY, box.width, box.height]",
            found,
        )
        clip = dict(zip(("x", "y", "width", "height"), place, strict=True))
        taken = browser.execute_cdp_cmd(
            "Page.captureScreenshot",
            {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True},
        )
        Path(file).write_bytes(base64.b64decode(taken["data"]))
    finally:
        browser.quit()


def page(plan: str) -> str:
    """Returns the page, with the output of the plan's command."""
    parts = [HEAD]
    for one in PICTURES:
        commands = "\n".join(one.commands).replace("RUN", "runs/quickstart")
        parts += [
            f"## {one.title}",
            f"```sh\n{commands}\n```",
            f"![{one.title}](gallery/{one.name}.png)",
        ]
    parts += ["## Where a job fits", f"```sh\n{PLAN}\n```"]
    parts.append(f"<!-- plan -->\n\n```text\n{plan}\n```\n\n<!-- end -->")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Makes the pictures and the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("quickstart", type=Path)
    names = [one.name for one in PICTURES]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    given = parser.parse_args()
    quickstart = given.quickstart.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("examples", "tf_records"):
            shutil.copytree(ROOT / name, folder / name)
        ran = {PICTURES[0].commands[0]}  # The quickstart is there.
        for one in PICTURES:
            if one.name not in given.only:
                continue
            for command in one.commands:
                if command not in ran:
                    run(command, quickstart, folder)
                    ran.add(command)
            shoot(one, folder / one.page.replace("RUN", str(quickstart)))
        lines = run(PLAN, quickstart, folder).strip("\n").splitlines()
    plan = "\n".join(line.rstrip() for line in lines)
    PAGE.write_text(page(plan))


if __name__ == "__main__":
    main()
