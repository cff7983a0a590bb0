"""Pictures of the studio for the README: every screen at desktop width, two at a phone's.

    python bench/studio_shots.py --out docs/studio

A real `kinema serve` on the packaged checkpoint, in a folder of its own, and the system's Chromium (`pip install
'kinema[test]'`, Debian: `apt install chromium`). The videos are made first, with fixed seeds, so the pictures show
what the model makes; fonts and times depend on the machine. About two minutes on two cores.
"""

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import sync_playwright

PROMPTS = (
    "a green heart falls down on snow",
    "a red ball rolls to the left on grass",
    "a yellow star rises into the air at night",
    "an orange tree, not moving, in the snow on a sunny day",
    "a pink cone slides to the right on grass at sunset",
    "a blue cube sliding to the right on sand",
)
CARDS = (("a red ball rolls to the left on grass", 2), ("a red ball rises into the air on grass", 2))
DESKTOP, PHONE = {"width": 1120, "height": 860}, {"width": 390, "height": 844}
STARTED, MADE = 180.0, 300.0  # seconds of patience


def make_videos(url: str) -> list[str]:
    """Ids of videos of all prompts; two of them are starred, one is extended."""
    ids = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for seed, prompt in enumerate(PROMPTS):
            ids.append(
                client.post("v1/videos", data={"prompt": prompt, "seed": seed}).raise_for_status().json()["id"]
            )
        end = time.monotonic() + MADE
        while any(client.get(f"v1/videos/{each}").json()["status"] != "completed" for each in ids):
            if time.monotonic() > end:
                raise SystemExit(f"the videos were not made within {MADE:g} seconds")
            time.sleep(0.5)
    return ids


def save(page: Any, path: Path) -> None:
    """What is seen, as a WebP that is small enough for a README."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.save(path, quality=82, method=6)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


def shoot(url: str, out: Path, ids: list[str]) -> None:
    """Take all pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=DESKTOP)
        page.goto(url)
        page.wait_for_function("document.querySelector('#estimate')?.innerText.includes('frames')")
        page.fill("#prompt textarea", PROMPTS[0])
        page.click("#quality label:has-text('best')")
        page.click("#generate")
        page.wait_for_selector("#watching [data-picture] img, #watching img")
        page.wait_for_timeout(1500)
        save(page, out / "making.webp")
        page.wait_for_selector("#watching video[data-key$=' done']", timeout=120_000)
        page.wait_for_timeout(1500)
        save(page, out / "create.webp")
        for name in ("Library", "Edit", "Storyboard"):
            page.get_by_role("tab", name=name, exact=True).click()
            page.wait_for_timeout(1500)
            if name == "Library":
                page.locator("#library-grid button").first.click()
                page.wait_for_selector("#library-video video")
                page.wait_for_timeout(1500)
            save(page, out / f"{name.lower()}.webp")
        page.close()
        phone = browser.new_page(viewport=PHONE, device_scale_factor=1)
        phone.goto(url)
        phone.wait_for_function("document.querySelector('#estimate')?.innerText.includes('frames')")
        phone.wait_for_timeout(1000)
        save(phone, out / "phone.webp")
        browser.close()


def main() -> None:
    """Serve, make, look."""
    parser = argparse.ArgumentParser(description="Take pictures of the studio.")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        server = subprocess.Popen(
            [sys.executable, "-m", "kinema.cli", "serve", "--folder", place + "/studio", "--port", str(port)],
            stdout=subprocess.DEVNULL, env=dict(os.environ),
        )  # fmt: skip
        try:
            end = time.monotonic() + STARTED
            while True:
                try:
                    if httpx.get(url + "readyz", timeout=10).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if time.monotonic() > end:
                    raise SystemExit(f"the server was not ready after {STARTED:g} seconds")
                time.sleep(0.3)
            shoot(url, args.out, make_videos(url))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
