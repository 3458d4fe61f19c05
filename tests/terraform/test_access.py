from __future__ import annotations

import json

import pytest

from .conftest import MakeRoot
from .plans import Case, Root, case_id, unseen

CALLERS = {"team": {"because": "the team tries it", "member": "group:team@example.com"}}
TOKENS = {"audience": "me", "issuer": "https://securetoken.google.com/shop"}


@pytest.fixture(scope="module")
def access(root: MakeRoot) -> Root:
    return root("terraform/modules/access")


def test_nobody_but_callers_by_default(access: Root) -> None:
    outputs = access.plan(callers=CALLERS).outputs
    assert outputs == {"invokers": CALLERS, "public": False, "setting": '{"kind":"iam"}'}


@pytest.mark.parametrize("kind", ["anyone", "tokens"])
def test_without_iam_the_function_is_public_and_knows_whom_to_ask(access: Root, kind: str) -> None:
    tokens = TOKENS if kind == "tokens" else {}
    outputs = access.plan(access=kind, tokens=tokens).outputs
    assert (outputs["invokers"], outputs["public"]) == ({}, True)
    assert json.loads(outputs["setting"]) == {"kind": kind} | tokens


REFUSED: list[Case] = [
    ({"access": "everybody"}, "access is everybody; it must be iam, tokens or anyone"),
    ({"access": "anyone", "callers": CALLERS}, "callers are named, but access is anyone"),
    ({"access": "tokens"}, "and access is tokens; tokens needs both"),
    (
        {"tokens": TOKENS | {"issuer": "https://evil.example"}, "access": "tokens"},
        "tokens.issuer is https://evil.example",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(access: Root, case: Case) -> None:
    assert case[1] in access.refused(case, REFUSED)


def test_every_rule_refuses_something(access: Root) -> None:
    assert unseen(access, "terraform/modules/access", REFUSED) == []
