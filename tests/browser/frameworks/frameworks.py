"""What runs by npm: React and Uppy as docs/portal.md shows them, and Node's client of Cloud Storage
against the local cloud: `make test-frameworks`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser.conftest import Open
from tests.browser.docs import application, block, by_input, sends_with_tokens_that_expire
from tests.browser.portal import STATIC, Fake
from tests.localcloud.client import LocalCloud
from tests.system.pipeline import jpeg

HERE = Path(__file__).parent
SETTINGS = """
export const base = "%s";
let token;
export const getToken = async (renew) => {
  if (renew || !token) token = await (await fetch("/token")).text();
  return token;
};
"""
REACT = """
import { createRoot } from "react-dom/client";
import { StrictMode } from "react";
import { Uploads } from "./shown.jsx";
createRoot(document.querySelector("main")).render(<StrictMode><Uploads /></StrictMode>);
"""
UPPY = """
import Uppy from "@uppy/core";
import Dashboard from "@uppy/dashboard";
import { Portal } from "./shown.jsx";
import { base, getToken } from "./settings.js";
const uppy = window.uppy = new Uppy({ autoProceed: true });
uppy.use(Dashboard, { inline: true, target: "main" }).use(Portal, { base, getToken });
const say = (text) => document.body.append(text, document.createElement("br"));
uppy.on("upload-success", (file, { body }) => say(`${file.name}: ${body.outputs[0].name}`));
uppy.on("upload-error", (file, error) => say(`${file.name}: ${error.message}`));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the packages of the lock file, and uploader.js."""
    if not shutil.which("npm"):
        pytest.skip("NOT RUN, and so not proved: npm is not on this machine")
    folder = tmp_path_factory.mktemp("frameworks")
    for name in ("client.mjs", "package.json", "package-lock.json", "tsconfig.json"):
        shutil.copy(HERE / name, folder)
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    shutil.copytree(STATIC, folder / "portal")
    return folder


def bundled(folder: Path, fake: Fake, heading: str, main: str) -> str:
    (folder / "settings.js").write_text(SETTINGS % fake.url)
    (folder / "shown.jsx").write_text(block(heading))
    (folder / "main.jsx").write_text(main)
    command = ["npx", "esbuild", "main.jsx", "--bundle", "--format=esm", "--jsx=automatic"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_types_hold(folder: Path) -> None:
    """uploader.js and its declarations, and the page: each checked as TypeScript reads it."""
    done = subprocess.run(["npx", "tsc", "--project", "."], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_nodes_client_uploads_to_the_local_cloud(folder: Path) -> None:
    """Whose open-ended ranges (bytes 0-*/*) Google takes."""
    with LocalCloud.start() as cloud:
        own = cloud.environ()
        environ = os.environ | own | {"NODE_EXTRA_CA_CERTS": own["SSL_CERT_FILE"]}
        done = subprocess.run(
            ["node", "client.mjs"], cwd=folder, env=environ, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "whole true 700000 text/plain\npieces true 700000 text/plain\n"


def test_react_as_the_page_shows_it(folder: Path, fake: Fake, opened: Open) -> None:
    with application(
        lambda: fake.token, bundled(folder, fake, "React", REACT), "<main></main>"
    ) as url:
        page = opened(url)
        sends_with_tokens_that_expire(fake, page, "{}: done", by_input(page))
        assert page.get_by_role("link", name="thumbnail").count() == 2


def test_uppy_as_the_page_shows_it(folder: Path, fake: Fake, opened: Open) -> None:
    with application(
        lambda: fake.token, bundled(folder, fake, "Uppy", UPPY), "<main></main>"
    ) as url:
        page = opened(url)

        def choose(name: str, data: bytes) -> None:
            page.evaluate(
                """([name, bytes]) => {
                  const data = new File([new Uint8Array(bytes)], name, { type: "image/jpeg" });
                  uppy.addFile({ name, type: data.type, data });
                }""",
                [name, list(data)],
            )

        sends_with_tokens_that_expire(fake, page, "{}: thumbnail", choose)
        choose("c.jpg", jpeg()[:3000])
        page.get_by_text("c.jpg: The image ends too early.").first.wait_for()
