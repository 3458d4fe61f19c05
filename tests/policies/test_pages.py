"""Figures, states and roles that pages tell are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from tests.system.roles import APPROVALS, ELSEWHERE, LEAST, NOT_TRIED

Row = tuple[str, str, str]  # command, role, what it is on
ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "terraform/pipeline"


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def block(text: str, name: str) -> dict[str, str]:
    """The fields of an object of a variable: name → default."""
    inner = re.search(rf"\b{name} += optional\(object\(\{{\n(.*?)\n +\}}\)", text, re.S)
    fields = inner[1] if inner else text.partition(f'variable "{name}"')[2].partition("})")[0]
    return dict(re.findall(r'(\w+) += optional\(\w+, "?([\w.]+)"?\)', fields))


LANES, OTHERS = ((PIPELINE / f"variables{end}.tf").read_text() for end in ("_lanes", ""))
PROCESSOR, QUEUE = block(LANES, "processor"), block(LANES, "queue")
BRIDGE, DELIVERY = block(OTHERS, "bridge"), block(OTHERS, "delivery")
RETRY_DAYS = re.search(r'variable "retry_days".*?default += (\d+)', OTHERS, re.S)
RENDITION = dict(
    re.findall(
        r'(\w+) +=\s+optional\(\w+, "?(\w+)"?\)', LANES.partition("renditions = optional")[2]
    )
)
PROD, DEV = (page(f"environments/{name}/main.tf") for name in ("prod", "dev"))


def call(text: str, setting: str) -> str:
    """What an environment's call sets."""
    found = re.search(rf"\b{setting} += (\d+)", text)
    assert found, setting
    return found[1]


def test_the_front_page_s_limits_are_the_defaults() -> None:
    assert RETRY_DAYS
    size, minutes = int(PROCESSOR["max_file_bytes"]), int(PROCESSOR["work_seconds"]) // 60
    limits = page("README.md").partition("## Limits")[2].partition("\n\n- One")[0]
    assert (
        f"Files up to {size // 2**20} MB ({size:,} bytes), {minutes} minutes of processing, "
        f"{QUEUE['max_attempts']} started attempts"
    ) in limits
    box = f"{RENDITION['width']}×{RENDITION['height']}, JPEG quality"
    assert f"at most {box}\n{RENDITION['quality']}" in page("README.md")


def test_the_tutorial_s_page_has_the_figures_that_are_set() -> None:
    assert RETRY_DAYS
    table = page("docs/from-the-tutorial.md").partition("## Figures")[2].partition("\n\nAll of")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    here = {cells[1]: cells[3] for cells in rows if len(cells) == 6}
    there = {cells[1]: cells[2] for cells in rows if len(cells) == 6}
    mib = {name: int(its["memory_mib"]) for name, its in (("p", PROCESSOR), ("b", BRIDGE))}
    back_off = f"{QUEUE['min_backoff_seconds']} s – {QUEUE['max_backoff_seconds']} s"
    deadline = int(QUEUE["dispatch_deadline_seconds"]) - int(PROCESSOR["work_seconds"])
    expected = {
        "queue rate, at once":
            f"{QUEUE['max_dispatches_per_second']}/s, {QUEUE['max_concurrent_dispatches']}; prod "
            f"{call(PROD, 'max_dispatches_per_second')}/s, "
            f"{call(PROD, 'max_concurrent_dispatches')}; dev "
            f"{call(DEV, 'max_concurrent_dispatches')} at once",
        "attempts": f"{QUEUE['max_attempts']} of started work, a setting of the lane",
        "back-off": f"{back_off}, {QUEUE['max_doublings']} doublings",
        "task's life": f"{RETRY_DAYS[1]} days at least",
        "ack deadline, retention": "the same",
        "deliveries before a dead letter":
            f"{DELIVERY['max_attempts']}, {DELIVERY['min_backoff_seconds']} – "
            f"{DELIVERY['max_backoff_seconds']} s apart",
        "processing service":
            f"{mib['p'] // 1024} GiB, {PROCESSOR['cpu']} CPU, {PROCESSOR['max_instances']} "
            f"instances, {PROCESSOR['concurrency']} requests",
        "upload service":
            f"the bridge: {mib['b']} MiB, {BRIDGE['cpu']} CPU, {BRIDGE['max_instances']} "
            f"instances, {BRIDGE['concurrency']} requests",
        "file size, time":
            "the same; the function has "
            f"{int(PROCESSOR['timeout_seconds']) - int(PROCESSOR['work_seconds'])} s more, "
            f"the queue {deadline} s",
    }  # fmt: skip
    assert {name: here[name] for name in expected} == expected
    assert set(here) - set(expected) == {"Figure", "---", "thumbnail"}
    # What is "the same" here is what stands there.
    kept = f"{DELIVERY['ack_deadline_seconds']} s, {DELIVERY['retention_days']} days"
    assert there["ack deadline, retention"] == kept
    size, minutes = int(PROCESSOR["max_file_bytes"]), int(PROCESSOR["work_seconds"]) // 60
    assert there["file size, time"] == f"{size // 2**20} MB, {minutes} minutes"
    assert (here["thumbnail"], there["thumbnail"]) == (
        "the same, a setting (`renditions`)",
        f"{RENDITION['width']} × {RENDITION['height']}, {RENDITION['format'].upper()}, "
        f"quality {RENDITION['quality']}",
    )
    assert (
        f"ack {DELIVERY['ack_deadline_seconds']} s, retention {DELIVERY['retention_days']} days | "
        "the same figures"
    ) in page("docs/from-the-tutorial.md")


def first_cells(text: str, after: str) -> list[str]:
    table = text.partition(after)[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]


def test_the_states_that_the_page_explains_are_those_that_status_tells() -> None:
    told = page("scripts/ops/status.py")
    described = re.findall(r'"state"\] = "(\w+)"|"state": "(\w+)"|state = "(\w+)"', told)
    found = {name for names in described for name in names if name}
    found |= set(re.findall(r'"(done|failed)" if', told)) | {"failed"}
    assert set(first_cells(page("docs/operations.md"), "## States\n\n")[1:]) == found
    listed = page("scripts/ops/cli.py").partition("\\b\n    done ")[2].partition("\n\n")[0]
    assert {"done", *re.findall(r"^    (\w+) ", listed, re.M)} == found


# Least roles: the page's table is that of tests/system/roles.py, whose roles tests withhold


def commands(cell: str) -> list[str]:
    """The commands of a cell; ", where …" is said of each."""
    names, _, where = cell.partition(", where ")
    return [f"{name} where {where}" if where else name for name in names.split(", ")]


def least_roles() -> list[tuple[set[Row], bool]]:
    """Of each row of the page the (command, role, what it is on), and whether it is not tried."""
    table = page("docs/operations.md").partition("## Least roles")[2].partition("\n\nLog in")[0]
    found = []
    for line in table.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| For ")):
            named, roles, on, why = (cell.strip() for cell in line.strip("|").split("|"))
            granted = re.findall(r"(roles/[\w.]+|(?<=`)\w+)(?:`)?(?: on ([^,]+))?", roles)
            assert granted, line
            rows = {
                (command, role, where)
                for command in commands(named)
                for role, own in granted
                for where in ([own] if own else on.split(", "))
            }
            found.append((rows, why.endswith("not tried")))
    return found


def rows_of(table: dict[str, list[tuple[str, str]]]) -> set[Row]:
    return {(command, *need) for command, needs in table.items() for need in needs}


def differences(there: set[Row], proved: set[Row]) -> str:
    """A line for each row that only the page has, or only the tests."""
    more = [f"the page has, and no test: {' | '.join(row)}" for row in sorted(there - proved)]
    less = [f"tests have, and not the page: {' | '.join(row)}" for row in sorted(proved - there)]
    return "\n".join(more + less)


def test_the_page_asks_for_the_roles_that_tests_take_away_and_no_others() -> None:
    there = [row for rows, _ in least_roles() for row in rows]
    assert differences(set(there), rows_of(LEAST)) == ""
    assert len(there) == len(set(there)), "a row stands there twice"


def test_the_page_says_which_roles_no_test_grants_alone() -> None:
    untried = {row for rows, is_untried in least_roles() if is_untried for row in rows}
    assert differences(untried, rows_of(NOT_TRIED)) == ""


def test_roles_that_are_proved_elsewhere_have_their_proof_there() -> None:
    assert {role for _, role, _ in rows_of(APPROVALS)} == set(ELSEWHERE)
    for role, proof in ELSEWHERE.items():
        name, _, story = proof.partition("::")
        short = role.removeprefix("roles/")
        assert re.search(rf'\(EDITOR, "{short}", "[^"]*"\): {story},', page(name)), proof
