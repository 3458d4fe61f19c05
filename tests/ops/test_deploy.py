"""The deployment script, as far as it needs no cloud."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from scripts.ops import ROOT

from .deploying import DEPLOY, DEV, PLANNING, deploy

from prepare import told  # isort: skip - scripts.ops makes scripts/ known

# Checks before anything is done


def test_a_missing_terraform_is_one_line(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin/terraform").unlink()
    code, said = deploy(machine, "plan", *DEV)
    assert (code, said.count("\n")) == (1, 0)
    assert "install Terraform 1.9 or newer, such as with: " in said
    release = re.findall(
        r'terraform_version: "(.+)"', (ROOT / ".github/workflows/check.yml").read_text()
    )
    if sys.platform == "linux":
        assert (
            f"curl -fsSLO https://releases.hashicorp.com/terraform/{release[0]}/terraform_" in said
        )


def test_an_old_terraform_is_one_line(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin/terraform").write_text("#!/bin/sh\necho 'Terraform v1.5.7'\n")
    code, said = deploy(machine, "plan", *DEV)
    assert (code, said.count("\n")) == (1, 0)
    assert "Terraform 1.5 is too old" in said


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            "lanes = { default = { queue = { max_dispatch_per_second = 20 } } }",
            "lanes.default.queue has no setting max_dispatch_per_second, which Terraform would "
            "leave out without a word. Did you mean max_dispatches_per_second?",
        ),
        (
            'lanes = {\n default = {} # memory = 1\n "big" = {\n prefixes = ["a = {"]\n'
            " memory = 4096 }\n}",
            "line 7: lanes.big has no setting memory",
        ),
        ("lanes = { default = { procesor = { cpu = 1 } } }", "Did you mean processor?"),
        (
            "lanes = { papers = { renditions = { page = { widht = 640 } } } }",
            "lanes.papers.renditions.page has no setting widht",
        ),
        ("lanes = { videos = { target = { uri = local.x } } }", "Did you mean url?"),
        ("renditions = { thumbnail = { widht = 640 } }", "Did you mean width?"),
        ("bridge = { colour = 1 }", "terraform/pipeline/README.md lists all."),
        (
            'lanes = {\n default = { processor = { max_instances = "five" } }\n}',
            'line 4: lanes.default.processor.max_instances is "five"; it must be a number',
        ),
        ('lanes = { default = { processor = { max_instances = "5" } } }', ""),
        ('lanes = { default = { delay_seconds = "-1.5e3" } }', ""),
        ('lanes = { default = { processor = { max_instances = "${local.x}" } } }', ""),
        ('lanes = { default = { processor = { cpu = "a" == local.b ? 1 : 2 } } }', ""),
        ('lanes = { default = { kind = "media", prefixes = ["five"] } }', ""),
        ("lanes = { default = { kind = local.big == 1 ? { a = 1 }.a : 2 } }", ""),
        ("lanes = { for x in local.all : x.name => { mine = 1 } }", ""),
        ("lanes = { default = merge(local.shared, { mine = 1 }) }", ""),
        ("uploads_retention = { storage_class_days = { NEARLINE = 30 } }", ""),
    ],
)
def test_a_misspelt_setting_is_told_where_terraform_drops_it(
    machine: dict[str, str], checkout: Path, tmp_path: Path, call: str, said: str
) -> None:
    (tmp_path / "bin/terraform").write_text(PLANNING)
    machine |= {"GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    main = checkout / "environments/dev/main.tf"
    source = 'source = "../../terraform/pipeline"'
    main.write_text(f'module "pipeline" {{\n{source}\n{call}\n}}\n')
    code, told = deploy(machine, "plan", *DEV, script=checkout / "scripts/deploy.py")
    assert code == (1 if said else 0), told
    assert said in told
    assert told.count("\n") == 0


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_environments_own_calls_are_spelt_well(
    machine: dict[str, str], checkout: Path, tmp_path: Path, environment: str
) -> None:
    (tmp_path / "bin/terraform").write_text(PLANNING)
    machine |= {"GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    words = ("plan", "--environment", environment, "--project", "demo-project")
    assert deploy(machine, *words, script=checkout / "scripts/deploy.py") == (0, "")


def test_verify_says_how_to_get_what_puts_a_file_through(
    machine: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin/terraform").write_text("#!/bin/sh\necho 'Terraform v1.11.4'\n")
    machine |= {"GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    # -S: a Python without any package.
    done = subprocess.run(
        [sys.executable, "-S", checkout / "scripts/deploy.py", "verify", *DEV],
        env=machine,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "dev is as configured" in done.stdout
    assert "Install it with: make prepare" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan"], "no environment is named. Say which with --environment"),
        (
            ["plan", "--environment", "qa"],
            "there is no environment qa; there are bootstrap, dev, prod",
        ),
        (["plan", "--environment", "dev"], "no project is named. Say which with --project"),
        (
            ["plan", "--environment", "dev", "--project", "My Project"],
            "My Project is not a project id",
        ),
        (
            ["plan", "--environment", "dev", "--project", "demo-project"],
            "no login to Google Cloud is set up",
        ),
        (["bootstrap", "--project", "demo-project"], "no login to Google Cloud is set up"),
    ],
)
def test_what_is_missing_is_one_line(
    machine: dict[str, str], words: list[str], message: str
) -> None:
    code, said = deploy(machine, *words)
    assert (code, said.count("\n")) == (1, 0)
    assert message in said


def test_a_login_that_names_no_file_is_one_line(machine: dict[str, str]) -> None:
    machine["GOOGLE_APPLICATION_CREDENTIALS"] = "/nowhere/key.json"
    code, said = deploy(machine, "plan", *DEV)
    assert (code, said) == (
        1,
        "deploy: GOOGLE_APPLICATION_CREDENTIALS names /nowhere/key.json, where there is no file",
    )


def test_a_machine_of_compute_engine_has_a_login_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    deploy = importlib.import_module("deploy")
    product = tmp_path / "product_name"
    assert not deploy.on_google(product)
    for name, google in (("Google Compute Engine\n", True), ("Google\n", True), ("KVM\n", False)):
        product.write_text(name)
        assert deploy.on_google(product) is google
    for variable in (*deploy.TOKENS, "GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setattr(deploy, "on_google", lambda: True)
    deploy.check_login()
    monkeypatch.setattr(deploy, "on_google", lambda: False)
    with pytest.raises(deploy.Refused, match="no login to Google Cloud is set up"):
        deploy.check_login()


# What tests and tools need, made once


def test_setting_up_is_interrupted_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prepare.environment", interrupted)
    monkeypatch.setattr("sys.argv", ["prepare.py"])
    assert importlib.import_module("prepare").main() == 130
    assert capsys.readouterr().err == "\nInterrupted: the same command goes on from here.\n"


def prepared(script: Path) -> str:
    done = subprocess.run(
        [sys.executable, script, "--no-terraform"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr.strip()


def test_a_file_missing_from_the_checkout_is_named(checkout: Path) -> None:
    said = prepared(checkout / "scripts/prepare.py")
    name = "tests/requirements-uv.txt"
    missing = f"{name} is missing from this checkout: git restore {name} brings it back"
    assert said == f"Cannot go on: {missing}."
    assert not (checkout / ".venv").exists()


def test_an_error_of_the_disk_is_told_as_it_is_and_its_cause_is_not_guessed(checkout: Path) -> None:
    (checkout / "tests").mkdir()
    for name in ("requirements-uv.txt", "requirements.txt", "requirements-nodeps.txt"):
        (checkout / "tests" / name).write_text("")
    lock = checkout / ".venv.lock"
    lock.mkdir()
    assert prepared(checkout / "scripts/prepare.py") == (
        f"Cannot go on: [Errno 21] Is a directory: '{lock}'."
    )


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "free about 1 GB"), (errno.EROFS, "read-only disk"), (errno.EACCES, "ls -l")],
)
def test_an_error_of_the_disk_whose_number_is_known_has_a_way_on(number: int, hint: str) -> None:
    assert hint in told(OSError(number, os.strerror(number), "build"))


# Failures of Terraform that have a known way on

LOCKED = """
│ Error: Error acquiring the state lock
│ Lock Info:
│   ID:        1795255142470672
│   Path:      gs://b/dev/default.tflock
│   Operation: OperationTypeApply
│   Who:       me@laptop
│   Version:   1.11.4
│   Created:   2026-11-21 09:59:02 +0000 UTC
"""


@pytest.mark.parametrize(
    ("answer", "way_on"),
    [
        (LOCKED, "locked by me@laptop (OperationTypeApply, since 2026-11-21 09:59:02 +0000 UTC)"),
        (LOCKED, "make unlock ENV=staging PROJECT=demo-project LOCK=1795255142470672"),
        (
            "querying Cloud Storage failed: storage: bucket doesn't exist",
            "Make it first: make bootstrap PROJECT=demo-project",
        ),
        (
            "Error: Failed to query available provider packages",
            "the Terraform registry cannot be reached",
        ),
        ("could not find default credentials", "gcloud auth application-default login"),
        ("Failed to unlock state: storage: object doesn't exist", "is not locked with this id"),
        (
            "Error 400: Billing account for project '1' is not found. Billing must be enabled",
            "gcloud billing projects link demo-project",
        ),
        (
            "Error 403: The project to be billed is associated with an absent billing account.",
            "gcloud billing projects link demo-project",
        ),
        (
            "The billing account for the owning project is disabled in state absent",
            "gcloud billing projects link demo-project",
        ),
        (
            "Error 403: Caller does not have required permission to use project projects/x",
            "there is no project demo-project, or this login may not use it",
        ),
        (
            "Error 403: Project 'projects/x' not found or permission denied., forbidden",
            "there is no project demo-project, or this login may not use it",
        ),
        (
            "Error 403: Cloud Tasks API has not been used in project 1 before or it is disabled.",
            "an API of demo-project is not on, or not yet",
        ),
    ],
)
def test_a_known_failure_ends_with_the_way_on(
    machine: dict[str, str], tmp_path: Path, answer: str, way_on: str
) -> None:
    (tmp_path / "answer").write_text(answer)
    machine |= {"ANSWER": str(tmp_path / "answer"), "GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    code, said = deploy(
        machine, "unlock", "--lock", "1", "--environment", "staging", "--project", "demo-project"
    )
    assert code == 1
    assert way_on in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("call", "option", "said"),
    [
        ('prefix = "pix"', [], 'has the prefix "pix", and this command "files"'),
        ("", ["--prefix", "pix"], 'has the prefix "files", and this command "pix"'),
        ('prefix = "pix" # ours', ["--prefix", "pix"], ""),
        ("prefix = local.prefix", ["--prefix", "pix"], ""),
    ],
)
def test_command_and_call_name_the_same_prefix(
    machine: dict[str, str], checkout: Path, tmp_path: Path,
    call: str, option: list[str], said: str,
) -> None:  # fmt: skip
    (tmp_path / "bin/terraform").write_text(PLANNING)
    machine |= {"GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    (checkout / "environments/dev/main.tf").write_text(f'module "pipeline" {{\n  {call}\n}}\n')
    script = checkout / "scripts/deploy.py"
    code, told = deploy(machine, "plan", *DEV, *option, script=script)
    assert (code, said in told, told == "") == ((1, True, False) if said else (0, True, True))


def test_the_way_on_holds_another_prefix(
    machine: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    (checkout / "environments/dev/main.tf").write_text('  prefix = "pix"\n')
    (tmp_path / "answer").write_text("querying Cloud Storage failed: storage: bucket doesn't exist")
    machine |= {"ANSWER": str(tmp_path / "answer"), "GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    words = ("unlock", "--lock", "1", *DEV, "--prefix", "pix")
    code, said = deploy(machine, *words, script=checkout / "scripts/deploy.py")
    assert code == 1
    assert said.endswith("make bootstrap PROJECT=demo-project PREFIX=pix")


def test_a_log_has_what_is_said_in_its_order(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("Error: something else")
    machine |= {"ANSWER": str(tmp_path / "answer"), "GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    done = subprocess.run(
        [sys.executable, DEPLOY, "unlock", "--lock", "1", *DEV],
        env=machine,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "Error: something else"


def test_any_other_failure_is_terraforms_own_words(machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("Error: something else")
    machine |= {"ANSWER": str(tmp_path / "answer"), "GOOGLE_OAUTH_ACCESS_TOKEN": "x"}
    code, said = deploy(
        machine, "unlock", "--lock", "1", "--environment", "staging", "--project", "demo-project"
    )
    assert (code, said) == (1, "Error: something else")


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_what_is_installed_is_what_its_hash_says_and_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """A package of the test's own, so that no index is asked."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    prepare, installer = importlib.import_module("prepare"), importlib.import_module("installer")
    venv.create(tmp_path / "own")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    if tool == "uv":
        (tmp_path / ".venv/bin/uv").symlink_to(Path(sys.prefix) / "bin/uv")
    monkeypatch.setattr(installer, "ROOT", tmp_path)
    ran: list[str] = []
    run = installer._run
    monkeypatch.setattr(
        installer, "_run", lambda *words, **to: ran.append(words[0]) or run(*words, **to)
    )
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        about = "tiny-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    pinned = tmp_path / "requirements.txt"
    options = ("--no-index", "--find-links", str(tmp_path))
    good = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for text in ("tiny==1.0", f"tiny==1.0 --hash=sha256:{'0' * 64}"):
        pinned.write_text(text)
        with pytest.raises(prepare.Unprepared, match=r"(?i)hash"):
            prepare._install(tmp_path / "own", pinned, options)
        assert not list(tmp_path.glob("own/lib/*/site-packages/tiny*"))
    pinned.write_text(f"tiny==1.0 --hash=sha256:{good}")
    prepare._install(tmp_path / "own", pinned, options)
    assert list(tmp_path.glob("own/lib/*/site-packages/tiny-1.0.dist-info"))
    assert Path(ran[-1]).name == ("uv" if tool == "uv" else Path(sys.executable).name)


def test_uv_looks_where_pip_is_told_to() -> None:
    installer = importlib.import_module("installer")
    listed = (
        "global.index-url='https://one.example/simple'\n:env:.find-links='/wheels'\n"
        "global.extra-index-url='\\nhttps://two.example\\nhttps://three.example'\n"
        ":env:.disable-pip-version-check='1'\nfreeze.timeout='10'\nglobal.cert='/ca.pem'\n"
    )
    assert installer.as_uv(listed) == {
        "SSL_CERT_FILE": "/ca.pem",
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_FIND_LINKS": "/wheels",
        "UV_INDEX": "https://two.example https://three.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
