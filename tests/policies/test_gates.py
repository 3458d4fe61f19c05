"""The kept gates: links and secrets. Each finds what it is for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.checks import gates, links, secret_scan

ROOT = Path(__file__).resolve().parents[2]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# Made up here, so that no file holds one.
LOOKS = {
    "a private key": "-----BEGIN " + "PRIVATE KEY-----\n" + LETTERS,
    "a Google API key": "AIza" + LETTERS[:35],
    "a Google access token": "ya29." + LETTERS,
    "a Google refresh token": "1//0" + LETTERS,
    "a Google OAuth secret": "GOCSPX-" + LETTERS[:28],
    "a service account's key": '"private_key_id": "' + "0a" * 20 + '"',
    "a GitHub token": "ghp_" + LETTERS[:36],
    "an AWS key": "AKIA" + "A1" * 8,
    "a Slack token": "xoxb-" + LETTERS[:30],
    "a PyPI token": "pypi-AgEI" + LETTERS,
    "a Terraform Cloud token": LETTERS[:14] + ".atlasv1." + LETTERS,
    "an address with a password": "https://ada:" + "correcthorse" + "@example.com",
}


@pytest.mark.parametrize("what", secret_scan.PATTERNS)
def test_a_secret_is_found_where_it_is(what: str, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text(f"one\n{LOOKS[what]}\n")
    assert secret_scan.scan([path], tmp_path) == [f"file.txt:2: looks like {what}"]


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN " + "PRIVATE KEY-----", "ya29.local-", "https://user@example.com", "0" * 40],
)
def test_what_only_speaks_of_secrets_is_left_alone(text: str) -> None:
    assert secret_scan.found_in(text) == []


PAGE = "# A title: with `code`\n\n## Twice\n\n## Twice\n"


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[a](there.md)", None),
        ("[a](there.md#a-title-with-code)", None),
        ("[a](there.md#twice-1)", None),
        ("[a](#here)", None),
        ("[a](/folder/there.md)", None),
        ("[a](https://example.com/none)", None),
        ("`[a](none.md)`", None),
        ("```\n[a](none.md)\n```", None),
        ("[a](none.md)", "none.md does not exist"),
        ("[a](../../outside.md)", "../../outside.md does not exist"),
        ("![a](none.png)", "none.png does not exist"),
        ("[a]: none.md", "none.md does not exist"),
        ("[a](there.md#none)", "there.md#none: no such heading"),
        ("[a](#none)", "#none: no such heading"),
    ],
)
def test_a_link_resolves_or_is_told(link: str, problem: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "there.md").write_text(PAGE)
    page = folder / "page.md"
    page.write_text(f"# Here\n\n{link}\n")
    expected = [f"folder/page.md:3: {problem}"] if problem else []
    assert links.broken([page], tmp_path) == expected


def test_a_gate_that_finds_something_fails_and_says_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gates.GATES, "links", lambda: gates._run("sh", "-c", "echo here; exit 3"))
    assert gates.passed("links") is False
    assert capsys.readouterr().out == "gate links: FAILED\nhere\n"


def test_an_absent_actionlint_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gates.actionlint().startswith("NOT RUN: neither actionlint nor Go")


def test_an_actionlint_that_go_cannot_get_is_said_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gates, "TOOLS", tmp_path)
    assert gates.actionlint() == "NOT RUN: Go cannot get it: no network"


needs_tools = pytest.mark.skipif(
    not (gates.TOOLS / "complete").exists(), reason="make gates has not made its tools yet"
)


@needs_tools
def test_zizmor_at_its_strictest_finds_an_action_by_tag(tmp_path: Path) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    text = (ROOT / ".github/workflows/check.yml").read_text()
    (folder / "good.yml").write_text(text)
    command = [str(gates.TOOLS / "bin/zizmor"), "--offline", "--quiet", "--persona", "auditor"]
    assert subprocess.run([*command, str(tmp_path)], capture_output=True).returncode == 0
    (folder / "bad.yml").write_text(
        text.replace("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7")
    )
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "unpinned-uses" in done.stdout


@needs_tools
def test_shell_scripts_are_those_with_a_shell_s_first_line(tmp_path: Path) -> None:
    script, other = tmp_path / "run", tmp_path / "other"
    script.write_text("#!/usr/bin/env bash\necho $1\n")
    other.write_text(f"#!{sys.executable}\n")
    assert (gates._is_shell(script), gates._is_shell(other)) == (True, False)
    with pytest.raises(gates.Found, match="SC2086"):
        gates._run(gates.TOOLS / "bin/shellcheck", script)


IGNORED = re.compile(r" # zizmor: ignore\[([\w-]+)\](.*)")


@needs_tools
def test_each_finding_of_zizmor_that_is_left_out_is_still_one(tmp_path: Path) -> None:
    left_out = []
    flows = tmp_path / ".github/workflows"
    flows.mkdir(parents=True)
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        text = path.read_text()
        for number, line in enumerate(text.splitlines()):
            left_out += [(path.name, number, audit) for audit, _ in IGNORED.findall(line)]
        (flows / path.name).write_text(IGNORED.sub("", text))
    command = [str(gates.TOOLS / "bin/zizmor"), "--offline", "--quiet", "--persona", "auditor"]
    done = subprocess.run([*command, "--format", "json", tmp_path], capture_output=True, text=True)
    found = set()
    for finding in json.loads(done.stdout):
        where = finding["locations"][-1]
        name = Path(where["symbolic"]["key"]["Local"]["verbatim_path"]).name
        row = where["concrete"]["location"]["start_point"]["row"]
        found.add((name, row, finding["ident"]))
    assert found == set(left_out) != set()


def test_a_workflow_calls_its_neighbour_in_the_form_that_every_github_server_knows() -> None:
    """The reason for leaving self-repository out: the new form is not that of older servers."""
    lines = [
        line
        for path in (ROOT / ".github/workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if "zizmor:" in line
    ]
    for line in lines:
        ((audit, reason),) = IGNORED.findall(line)
        assert (audit, reason) == ("self-repository", " every GitHub server knows ./")
        assert (ROOT / line.split("uses: ./")[1].split()[0]).is_file()
