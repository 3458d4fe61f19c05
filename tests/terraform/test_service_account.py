from __future__ import annotations

import pytest

from .conftest import MakeRoot
from .plans import Case, Root, case_id, unseen

ACCOUNT = "google_service_account.this"

BECAUSE = "it reads what is uploaded"


@pytest.fixture(scope="module")
def account(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/service_account",
        project_id="demo-project",
        account_id="files-dev-bridge",
    )


# Defaults


def test_an_account_is_made_and_nobody_may_act_as_it(account: Root) -> None:
    plan = account.plan()
    assert list(plan.resources) == [ACCOUNT]
    assert plan[ACCOUNT]["account_id"] == "files-dev-bridge"
    assert plan[ACCOUNT]["project"] == "demo-project"


def test_its_address_is_known_before_it_exists(account: Root) -> None:
    outputs = account.plan().outputs
    assert outputs["email"] == "files-dev-bridge@demo-project.iam.gserviceaccount.com"
    assert (
        outputs["member"] == "serviceAccount:files-dev-bridge@demo-project.iam.gserviceaccount.com"
    )


# Overrides


def test_it_says_what_it_is_for(account: Root) -> None:
    values = account.plan(display_name="Bridge", description="Puts tasks into queues.")[ACCOUNT]
    assert (values["display_name"], values["description"]) == ("Bridge", "Puts tasks into queues.")


def test_members_may_act_as_it(account: Root) -> None:
    role = "roles/iam.serviceAccountUser"
    plan = account.plan(
        iam_members={"deployer": {"because": BECAUSE, "role": role, "member": "user:a@x.com"}}
    )
    assert plan.bindings() == {("user:a@x.com", role, "account/files-dev-bridge")}


def test_a_deployer_may_act_as_it(account: Root) -> None:
    plan = account.plan(deployer="user:a@x.com")
    role = "roles/iam.serviceAccountUser"
    assert plan.bindings() == {("user:a@x.com", role, "account/files-dev-bridge")}
    assert plan.told() == plan.bindings()


# Rejections


REFUSED: list[Case] = [
    (
        {
            "iam_members": {
                "a": {
                    "because": "",
                    "role": "roles/iam.serviceAccountUser",
                    "member": "user:a@x.com",
                }
            }
        },
        "iam_members has an entry whose because does not say why it is granted",
    ),
    ({"account_id": "short"}, "account_id is short (5 characters); it has 6 to 30"),
    ({"account_id": "a" * 31}, "(31 characters); it has 6 to 30"),
    ({"description": "x" * 257}, "description has 257 characters; Google takes 256"),
    ({"display_name": "x" * 101}, "display_name has 101 characters; Google takes 100"),
    (
        {
            "iam_members": {
                "a": {
                    "because": BECAUSE,
                    "role": "roles/iam.serviceAccountTokenCreator",
                    "member": "user:a@x.com",
                }
            }
        },
        "iam_members names roles/iam.serviceAccountTokenCreator; allowed are roles/iam.",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(account: Root, case: Case) -> None:
    assert case[1] in account.refused(case, REFUSED)


def test_every_rule_refuses_something(account: Root) -> None:
    assert unseen(account, "terraform/modules/service_account", REFUSED) == []
