"""Which environments a change touches, and what a reviewer should know about where it touches."""

from __future__ import annotations

from collections.abc import Iterable

from .texts import code

# Copied into every environment: its code and what builds and deploys it.
EVERYWHERE = ("terraform/", "functions/", "scripts/build_functions.py")
DELIVERY = (".github/", "scripts/", "Makefile")
BOOTSTRAP = "bootstrap"


def environments(paths: Iterable[str], known: Iterable[str]) -> list[str]:
    """The environments among `known` that these changed paths may change, in `known`'s order.

    Args:
        paths: from the repository's root; of a rename both names.
        known: the environments that are delivered, so without bootstrap.
    """
    touched: set[str] = set()
    known = list(known)
    for path in paths:
        if path.endswith(".md") and not path.startswith("functions/"):
            continue
        if path.startswith(EVERYWHERE):
            return known
        if path.startswith("environments/"):
            touched.add(path.split("/")[1])
    return [name for name in known if name in touched]


def notes(paths: Iterable[str], touched: list[str], fork: bool) -> list[str]:
    """Sentences that stand above the plans."""
    paths = list(paths)
    found = []
    if fork:
        found.append(
            "This pull request comes from a fork. It gets no login, so nothing is planned: only "
            "the static checks run. A maintainer who has read it can push its branch to this "
            "repository and open a pull request from there, which is planned."
        )
    if delivery := sorted(path for path in paths if path.startswith(DELIVERY)):
        found.append(
            "**This pull request changes the delivery itself.** What you read here was made by its "
            "own version of it. Read these files first: " + ", ".join(code(p) for p in delivery)
        )
    if any(path.startswith(f"environments/{BOOTSTRAP}/") for path in paths):
        found.append(
            "**This pull request changes `environments/bootstrap`**, which holds the rights of the "
            "delivery. An owner applies it by hand after the merge: `make bootstrap PROJECT=…`, "
            "once per environment."
        )
    roots = sorted({path.split("/")[1] for path in paths if path.startswith("environments/")})
    roots = [name for name in roots if name in touched]
    if "prod" in touched and len(roots) > 1:
        found.append(
            f"**This pull request touches {' and '.join(roots)} together.** A mistake in it is not "
            "met in dev first. Split it, unless the parts only work together."
        )
    return found
