"""A deployed environment against what Terraform declares, and against what a plan cannot see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from build_functions import BuildError, zip_bytes
from deployables import deployables

from .clients import Clients
from .deadletters import DeadLetters
from .declared import Resource, State, block
from .environment import Environment
from .problems import Problem

Level = Literal["ok", "note", "warning", "error", "unknown"]
# What environments/bootstrap enables and the pipeline works with.
APIS = (
    "artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com", "cloudtasks.googleapis.com", "iam.googleapis.com",
    "logging.googleapis.com", "monitoring.googleapis.com", "pubsub.googleapis.com",
    "run.googleapis.com", "storage.googleapis.com",
)  # fmt: skip
# What it grants to the account that builds functions: on the project, on the repository of images.
BUILDS_WITH = ("roles/logging.logWriter", "roles/storage.objectViewer")
KEEPS_WITH = "roles/artifactregistry.writer"
DEAD_LETTERS = 1000  # that are counted
STORAGE = "https://storage.googleapis.com/storage/v1/b"
PUBSUB = "https://pubsub.googleapis.com/v1"
TASKS = "https://cloudtasks.googleapis.com/v2"
FUNCTIONS = "https://cloudfunctions.googleapis.com/v2"
PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"
IMAGES = "https://artifactregistry.googleapis.com/v1"
EVERYBODY = ("allUsers", "allAuthenticatedUsers")
BASIC = ("projectOwner:", "projectEditor:", "projectViewer:")  # who holds a basic role


@dataclass(frozen=True)
class Finding:
    """One fact. fix is a command or a sentence; empty where all is well.

    A note is what everybody should know who answers for the environment, but nothing to mend.
    """

    level: Level
    check: str
    what: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


class Doctor:
    def __init__(self, clients: Clients, environment: Environment, state: State) -> None:
        self._clients, self._environment, self._state = clients, environment, state
        self._get = clients.rest
        project = environment.project
        self._apply = f"make apply ENV={state.name} PROJECT={project}"

    def checks(self) -> dict[str, Callable[[], Iterator[Finding]]]:
        return {
            "apis": self.apis,
            "buckets": self.buckets,
            "notification": self.notification,
            "subscription": self.subscription,
            "queues": self.queues,
            "functions": self.functions,
            "bindings": self.bindings,
            "project": self.project,
            "dead letters": self.dead_letters,
        }

    def examine(self, *only: str, begun: Callable[[str], None] = lambda _: None) -> list[Finding]:
        """All checks, or those named. What a check may not see is a finding, not an end."""
        findings = []
        for name, check in self.checks().items():
            if only and name not in only:
                continue
            begun(name)
            try:
                found = list(check())
            except Problem as problem:
                findings.append(Finding("unknown", name, str(problem), str(problem)))
                continue
            if all(finding.level == "note" for finding in found):
                findings.append(Finding("ok", name, "as declared"))
            findings += found
        return findings

    # What is there

    def apis(self) -> Iterator[Finding]:
        url = f"https://serviceusage.googleapis.com/v1/projects/{self._environment.project}"
        answer = self._get("GET", f"{url}/services?filter=state:ENABLED&pageSize=200") or {}
        enabled = {service["config"]["name"] for service in answer.get("services", [])}
        for api in APIS:
            if api not in enabled:
                fix = f"make bootstrap PROJECT={self._environment.project}"
                yield Finding("error", "apis", f"{api} is not enabled", fix)

    def buckets(self) -> Iterator[Finding]:
        for declared in self._state.of("google_storage_bucket"):
            name = declared.values["name"]
            bucket = self._get("GET", f"{STORAGE}/{name}")
            if bucket is None:
                yield self._absent("buckets", declared, f"gs://{name}")
                continue
            access = bucket.get("iamConfiguration", {})
            facts = {
                "versioning": bucket.get("versioning", {}).get("enabled") is True,
                "uniform access": access.get("uniformBucketLevelAccess", {}).get("enabled") is True,
                "public access prevention": access.get("publicAccessPrevention") == "enforced",
            }
            for fact, holds in facts.items():
                if not holds:
                    what = f"gs://{name}: {fact} is off"
                    yield Finding("error", "buckets", what, self._apply)

    def notification(self) -> Iterator[Finding]:
        for declared in self._state.of("google_storage_notification"):
            bucket, topic = declared.values["bucket"], _short(declared.values["topic"])
            answer = self._get("GET", f"{STORAGE}/{bucket}/notificationConfigs") or {}
            ours = [n for n in answer.get("items", []) if _short(n["topic"]) == topic]
            if not ours:
                what = f"gs://{bucket} announces no uploads to {topic}: they stay pending"
                fix = f"{self._apply}, then reconcile"
                yield Finding("error", "notification", what, fix)
            for extra in ours[1:]:
                what = f"gs://{bucket} announces each upload {len(ours)} times"
                path = f"projects/_/buckets/{bucket}/notificationConfigs/{extra['id']}"
                fix = f"gcloud storage buckets notifications delete {path}"
                yield Finding("error", "notification", what, fix)
            for one in ours[:1]:
                events = one.get("event_types") or ["all events"]
                form = one.get("payload_format")
                if events != ["OBJECT_FINALIZE"] or form != "JSON_API_V1":
                    what = f"gs://{bucket} announces {', '.join(events)} as {form}"
                    yield Finding("error", "notification", what, self._apply)

    def subscription(self) -> Iterator[Finding]:
        for declared in self._state.of("google_pubsub_subscription"):
            values, check = declared.values, "subscription"
            name = f"projects/{values['project']}/subscriptions/{_short(values['name'])}"
            live = self._get("GET", f"{PUBSUB}/{name}")
            if live is None:
                yield self._absent(check, declared, name)
                continue
            if _short(live.get("topic", "")) != _short(values["topic"]):
                yield Finding("error", check, f"{name} has lost its topic", self._apply)
            push, token = (
                live.get("pushConfig", {}),
                live.get("pushConfig", {}).get("oidcToken", {}),
            )
            policy = live.get("deadLetterPolicy", {})
            dead = block(values, "dead_letter_policy")
            pushed = block(values, "push_config")
            signed = block(values, "push_config", "oidc_token")
            pairs = {
                "push endpoint": (push.get("pushEndpoint"), pushed.get("push_endpoint")),
                "audience": (token.get("audience"), signed.get("audience")),
                "account": (token.get("serviceAccountEmail"), signed.get("service_account_email")),
                "ack deadline": (live.get("ackDeadlineSeconds"), values["ack_deadline_seconds"]),
                "dead-letter topic": (policy.get("deadLetterTopic"), dead.get("dead_letter_topic")),
                "delivery attempts": (
                    policy.get("maxDeliveryAttempts"), dead.get("max_delivery_attempts")
                ),
            }  # fmt: skip
            yield from self._differing(check, name, pairs)
            if pushed and pushed.get("push_endpoint") not in self._addresses():
                what = f"{name} pushes to {pushed['push_endpoint']}, where no function answers"
                yield Finding("error", check, what, self._apply)

    def queues(self) -> Iterator[Finding]:
        for declared in self._state.of("google_cloud_tasks_queue"):
            values, check = declared.values, "queues"
            name = (
                f"projects/{values['project']}/locations/{values['location']}"
                f"/queues/{_short(values['name'])}"
            )
            live = self._get("GET", f"{TASKS}/{name}")
            if live is None:
                yield self._absent(check, declared, name)
                continue
            wanted, state = values.get("desired_state") or "RUNNING", live.get("state")
            short = f"{_short(name)} --location {values['location']}"
            if state != "RUNNING" and wanted == "RUNNING":
                what = f"{name} is {state}, by hand: tasks wait, and are lost after 31 days"
                yield Finding("error", check, what, f"gcloud tasks queues resume {short}")
            elif state == "RUNNING" and wanted != "RUNNING":
                what = f"{name} runs, although it is declared {wanted}"
                yield Finding("warning", check, what, f"gcloud tasks queues pause {short}")
            elif state != "RUNNING":
                what = f"{name} is {state}, as declared: tasks wait, and are lost after 31 days"
                yield Finding("warning", check, what, f"paused = false, then {self._apply}")
            rates, retry = block(values, "rate_limits"), block(values, "retry_config")
            has, tries = live.get("rateLimits", {}), live.get("retryConfig", {})
            pairs = {
                "dispatches a second": (
                    has.get("maxDispatchesPerSecond"), rates.get("max_dispatches_per_second")
                ),
                "concurrent dispatches": (
                    has.get("maxConcurrentDispatches"), rates.get("max_concurrent_dispatches")
                ),
                "attempts": (tries.get("maxAttempts"), retry.get("max_attempts")),
                "retry duration": (tries.get("maxRetryDuration"), retry.get("max_retry_duration")),
                "first back-off": (tries.get("minBackoff"), retry.get("min_backoff")),
                "longest back-off": (tries.get("maxBackoff"), retry.get("max_backoff")),
                "doublings": (tries.get("maxDoublings"), retry.get("max_doublings")),
            }  # fmt: skip
            yield from self._differing(check, name, pairs)

    def functions(self) -> Iterator[Finding]:
        for declared in self._state.of("google_cloudfunctions2_function"):
            values, check = declared.values, "functions"
            name = _function(values)
            live = self._get("GET", f"{FUNCTIONS}/{name}")
            if live is None:
                yield self._absent(check, declared, name)
                continue
            if live.get("state") != "ACTIVE":
                what = f"{name} is {live.get('state')}: {_messages(live)}"
                yield Finding("error", check, what, self._apply)
            source = block(values, "build_config", "source", "storage_source")
            has = live.get("buildConfig", {}).get("source", {}).get("storageSource", {})
            service, config = live.get("serviceConfig", {}), block(values, "service_config")
            pairs = {
                "source": (has.get("object"), source.get("object")),
                "account": (
                    service.get("serviceAccountEmail"), config.get("service_account_email")
                ),
                "ingress": (service.get("ingressSettings"), config.get("ingress_settings")),
                "settings": (_own(service.get("environmentVariables")),
                             _own(config.get("environment_variables"))),
            }  # fmt: skip
            yield from self._differing(check, name, pairs)
            yield from self._against_repository(name, has.get("object", ""))

    def _against_repository(self, name: str, deployed: str) -> Iterator[Finding]:
        function, _, digest = deployed.removesuffix(".zip").partition("/")
        try:
            (source,) = (one for one in deployables() if one.name == function)
            here = hashlib.sha256(zip_bytes(source)).hexdigest()
        except (BuildError, OSError, ValueError) as error:
            yield Finding("warning", "functions", str(error), "git status")
            return
        if here != digest:
            what = f"{name} runs source {digest[:12]}, this checkout has {here[:12]}"
            fix = f"{self._apply}, or check out the commit that was deployed"
            yield Finding("warning", "functions", what, fix)

    def _addresses(self) -> set[str]:
        """Where the functions that are there answer."""
        found = set()
        for declared in self._state.of("google_cloudfunctions2_function"):
            live = self._get("GET", f"{FUNCTIONS}/{_function(declared.values)}") or {}
            found.add(live.get("serviceConfig", {}).get("uri"))
        return found

    # Who may what

    def bindings(self) -> Iterator[Finding]:
        """Each declared binding is there; nobody else may use what the pipeline owns."""
        declared: dict[str, set[tuple[str, str]]] = {}
        places = {}
        for resource in self._state.resources:
            if place := _place(resource):
                places[place.name] = place
                pair = (resource.values["role"], resource.values["member"])
                declared.setdefault(place.name, set()).add(pair)
        for name, place in places.items():
            policy = self._get(place.verb, place.url)
            if policy is None:
                yield Finding("error", "bindings", f"{name} does not exist", self._apply)
                continue
            live = _pairs(policy)
            for role, member in sorted(declared[name] - live):
                what = f"{member} lacks {role} on {name}"
                yield Finding("error", "bindings", what, self._apply)
            yield from self._surplus(place, live - declared[name])

    def _surplus(self, place: Place, pairs: Iterable[tuple[str, str]]) -> Iterator[Finding]:
        born = {(r, m) for r, m in pairs if "/storage.legacy" in r and m.startswith(BASIC)}
        if born:
            who = ", ".join(sorted({member for _, member in born}))
            what = f"{place.name} is open to {who}, as each new bucket is; to take it away:"
            what += f" {place.remove} --role=… --member=…"
            yield Finding("note", "bindings", what)
        for role, member in sorted({*pairs} - born):
            level: Level = "error" if member in EVERYBODY else "warning"
            what = f"{member} has {role} on {place.name}, which Terraform did not grant"
            fix = f"{place.remove} --role={role} --member={member}"
            yield Finding(level, "bindings", what, fix)

    def project(self) -> Iterator[Finding]:
        """What bootstrap granted is there; the environment's accounts hold nothing there."""
        project = self._environment.project
        body = {"options": {"requestedPolicyVersion": 3}}
        held = _pairs(self._get("POST", f"{PROJECTS}/{project}:getIamPolicy", body) or {})
        bootstrap = f"make bootstrap PROJECT={project}"
        builds = [
            block(function.values, "build_config")
            for function in self._state.of("google_cloudfunctions2_function")
        ]
        for account in sorted({f"serviceAccount:{_short(b['service_account'])}" for b in builds}):
            for role in BUILDS_WITH:
                if (role, account) not in held:
                    what = f"{account} lacks {role} on {project}: no function can be built"
                    yield Finding("error", "project", what, bootstrap)
            for images in sorted({b["docker_repository"] for b in builds}):
                policy = self._get("GET", f"{IMAGES}/{images}:getIamPolicy") or {}
                if (KEEPS_WITH, account) not in _pairs(policy):
                    what = f"{account} lacks {KEEPS_WITH} on {images}: no function can be built"
                    yield Finding("error", "project", what, bootstrap)
        accounts = {a.values["member"] for a in self._state.of("google_service_account")}
        for role, member in sorted(held):
            if member in accounts:
                what = f"{member} has {role} on {project}, where it needs nothing"
                fix = f"gcloud projects remove-iam-policy-binding {project}"
                fix += f" --role={role} --member={member}"
                yield Finding("warning", "project", what, fix)

    def dead_letters(self) -> Iterator[Finding]:
        letters = DeadLetters(self._clients, self._environment.dead_letters)
        count = len(letters.peek(DEAD_LETTERS))
        if count:
            many = f"{count} or more" if count >= DEAD_LETTERS else str(count)
            what = f"{many} dead letters wait, for at most 31 days"
            fix = f"python -m scripts.ops -e {self._state.name} redrive --dead-letters"
            yield Finding("error", "dead letters", what, fix)
        else:
            yield Finding("ok", "dead letters", "none wait")

    # Helpers

    def _absent(self, check: str, declared: Resource, name: str) -> Finding:
        return Finding("error", check, f"{name} ({declared.address}) does not exist", self._apply)

    def _differing(
        self, check: str, name: str, pairs: dict[str, tuple[Any, Any]]
    ) -> Iterator[Finding]:
        for what, (live, wanted) in pairs.items():
            if live != wanted and not (live in (None, 0, "", {}) and wanted in (None, 0, "", {})):
                if isinstance(live, dict) and isinstance(wanted, dict):
                    changed = [k for k in {*live, *wanted} if live.get(k) != wanted.get(k)]
                    live, wanted = f"changed in {', '.join(sorted(changed))}", "others"
                text = f"{name}: {what} is {live}, declared is {wanted}"
                yield Finding("error", check, text, self._apply)


@dataclass(frozen=True)
class Place:
    """Something with a policy: how to read it, and the command that takes a binding away."""

    name: str
    verb: str
    url: str
    remove: str


def _place(resource: Resource) -> Place | None:
    """Where an IAM resource of the state puts its binding; None for other resources."""
    v = resource.values
    match resource.kind:
        case "google_storage_bucket_iam_member":
            bucket = v["bucket"].removeprefix("b/")
            url = f"{STORAGE}/{bucket}/iam?optionsRequestedPolicyVersion=3"
            remove = f"gcloud storage buckets remove-iam-policy-binding gs://{bucket}"
            return Place(f"gs://{bucket}", "GET", url, remove)
        case "google_pubsub_topic_iam_member":
            name = f"projects/{v['project']}/topics/{_short(v['topic'])}"
            remove = f"gcloud pubsub topics remove-iam-policy-binding {name}"
            return Place(name, "GET", f"{PUBSUB}/{name}:getIamPolicy", remove)
        case "google_pubsub_subscription_iam_member":
            name = f"projects/{v['project']}/subscriptions/{_short(v['subscription'])}"
            remove = f"gcloud pubsub subscriptions remove-iam-policy-binding {name}"
            return Place(name, "GET", f"{PUBSUB}/{name}:getIamPolicy", remove)
        case "google_cloud_tasks_queue_iam_member":
            where = f"projects/{v['project']}/locations/{v['location']}"
            name = f"{where}/queues/{_short(v['name'])}"
            remove = (
                f"gcloud tasks queues remove-iam-policy-binding {_short(name)} "
                f"--location={v['location']}"
            )
            return Place(name, "POST", f"{TASKS}/{name}:getIamPolicy", remove)
        case "google_service_account_iam_member":
            name = v["service_account_id"]
            email = _short(name)
            remove = f"gcloud iam service-accounts remove-iam-policy-binding {email}"
            return Place(name, "POST", f"https://iam.googleapis.com/v1/{name}:getIamPolicy", remove)
        case "google_cloud_run_service_iam_member":
            service, region = _short(v["service"]), v["location"]
            name = f"projects/{v['project']}/locations/{region}/services/{service}"
            remove = f"gcloud run services remove-iam-policy-binding {service} --region={region}"
            url = f"https://{region}-run.googleapis.com/v1/{name}:getIamPolicy"
            return Place(name, "GET", url, remove)
    return None


def _pairs(policy: dict[str, Any]) -> set[tuple[str, str]]:
    """(role, member) of each binding."""
    return {(b["role"], m) for b in policy.get("bindings", []) for m in b["members"]}


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _function(values: dict[str, Any]) -> str:
    where = f"projects/{values['project']}/locations/{values['location']}"
    return f"{where}/functions/{_short(values['name'])}"


def _messages(live: dict[str, Any]) -> str:
    texts = [m.get("message", "") for m in live.get("stateMessages", [])]
    return "; ".join(texts) or "no reason is given"


def _own(variables: dict[str, str] | None) -> dict[str, str]:
    """Without those that Google adds."""
    return {k: v for k, v in (variables or {}).items() if k != "LOG_EXECUTION_ID"}
