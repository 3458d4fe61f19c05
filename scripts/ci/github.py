"""The few calls to GitHub that delivery makes: a comment, an issue, what was merged."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

from known import Refused

BOT = "github-actions[bot]"  # who GITHUB_TOKEN speaks as; anybody could write the marks of others
PAGE = 100


class GitHub:
    """A repository, reached with the token of the running job."""

    def __init__(self, repository: str, token: str, api: str = "https://api.github.com") -> None:
        self.root = f"{api}/repos/{repository}"
        self._token = token

    @classmethod
    def from_environ(cls) -> GitHub:
        """Raises Refused outside a workflow."""
        names = ("GITHUB_REPOSITORY", "GITHUB_TOKEN")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise Refused(f"{' and '.join(missing)} must be set: a workflow sets them")
        api = os.environ.get("GITHUB_API_URL", "https://api.github.com")
        return cls(os.environ["GITHUB_REPOSITORY"], os.environ["GITHUB_TOKEN"], api)

    def comment(self, number: int, mark: str, text: str) -> None:
        """Writes the bot's comment that holds `mark` on a pull request, or updates it in place."""
        for comment in self._all(f"/issues/{number}/comments?"):
            if mark in comment["body"] and comment["user"]["login"] == BOT:
                self._send("PATCH", f"/issues/comments/{comment['id']}", {"body": text})
                return
        self._send("POST", f"/issues/{number}/comments", {"body": text})

    def keep_issue(self, mark: str, title: str, text: str | None, closing: str) -> str:
        """Opens, updates or (text None) closes the one issue of the bot that holds `mark`.

        Returns what was done: opened, updated, closed or nothing.
        """
        is_open = [
            issue
            for issue in self._all("/issues?state=open&creator=github-actions%5Bbot%5D&")
            if mark in (issue.get("body") or "") and issue["user"]["login"] == BOT
        ]
        if text is None:
            for issue in is_open:
                self._send("POST", f"/issues/{issue['number']}/comments", {"body": closing})
                self._send("PATCH", f"/issues/{issue['number']}", {"state": "closed"})
            return "closed" if is_open else "nothing"
        if not is_open:
            self._send("POST", "/issues", {"title": title, "body": text})
            return "opened"
        self._send("PATCH", f"/issues/{is_open[0]['number']}", {"title": title, "body": text})
        return "updated"

    def reviewed_head(self, commit: str) -> str:
        """The last commit of the pull request that `commit` merged; "" where there was none."""
        for pull in self._send("GET", f"/commits/{commit}/pulls"):
            if pull.get("merged_at") and pull.get("merge_commit_sha") == commit:
                return str(pull["head"]["sha"])
        return ""

    def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) % PAGE == 0:
            more = self._send("GET", f"{path}per_page={PAGE}&page={len(found) // PAGE + 1}")
            if not more:
                break
            found += more
        return found

    def _send(self, verb: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.root + path,
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {self._token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            method=verb,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:300]
            raise Refused(f"GitHub refuses {verb} {path} ({error.code}): {detail}") from error
        except urllib.error.URLError as error:
            raise Refused(f"GitHub cannot be reached: {error.reason}") from error
