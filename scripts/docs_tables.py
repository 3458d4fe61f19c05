"""Writes the tables of inputs and outputs into the READMEs beside Terraform code.

    python3 scripts/docs_tables.py            write them
    python3 scripts/docs_tables.py --check    fail when one is stale

It reads variables.tf and outputs.tf as `terraform fmt` lays them out: a block's attributes stand at
two spaces, what belongs to them deeper.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- Made by scripts/docs_tables.py from variables.tf and outputs.tf. -->"
END = "<!-- End of what is made. -->"


def blocks(path: Path, kind: str) -> dict[str, dict[str, str]]:
    """The blocks `kind "name" { … }` of a file: name → attribute → its expression, on one line."""
    found = {}
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    for name, body in re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}$', text, re.M | re.S):
        # Nested blocks such as validation are of no interest here.
        body = re.sub(r"^  \w+ \{\n.*?^  \}\n", "", body, flags=re.M | re.S)
        attributes = re.findall(r"^  (\w+) += (.*?)(?=^  \w+ +=|\Z)", body, re.M | re.S)
        found[name] = {attribute: one_line(text) for attribute, text in attributes}
    return found


def one_line(expression: str) -> str:
    """An expression without line breaks: the attributes of an object are parted by commas."""
    lines = (" ".join(line.split()) for line in expression.strip().splitlines())
    joined = ", ".join(line for line in lines if line)
    return re.sub(r"\{, ", "{ ", re.sub(r", (?=\})", " ", joined))


def plain(description: str) -> str:
    """A quoted string as Markdown for a table's cell."""
    return description.strip('"').replace('\\"', '"').replace("|", "\\|").replace("<", "&lt;")


def code(expression: str) -> str:
    return f"`{expression.replace('|', chr(92) + '|')}`"


def tables(folder: Path) -> str:
    """The tables of one module, between their marks."""
    lines = [BEGIN, "", "| Input | What it is | Type | Default |", "|---|---|---|---|"]
    inputs: dict[str, dict[str, str]] = {}
    for file in folder.glob("variables*.tf"):
        inputs |= blocks(file, "variable")
    for name, attributes in sorted(inputs.items()):
        what, kind = plain(attributes["description"]), code(attributes["type"])
        default = code(attributes["default"]) if "default" in attributes else "required"
        lines.append(f"| {name} | {what} | {kind} | {default} |")
    lines += ["", "| Output | What it is |", "|---|---|"]
    for name, attributes in blocks(folder / "outputs.tf", "output").items():
        lines.append(f"| {name} | {plain(attributes['description'])} |")
    return "\n".join([*lines, "", END])


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes the tables of the modules' READMEs.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, fail when one is stale"
    )
    check = parser.parse_args().check
    stale = []
    for variables in sorted((ROOT / "terraform").rglob("variables.tf")):
        folder = variables.parent
        if ".terraform" in folder.parts:
            continue
        readme = folder / "README.md"
        before = readme.read_text(encoding="utf-8") if readme.exists() else ""
        if BEGIN not in before or END not in before:
            print(f"{readme.relative_to(ROOT)} lacks the marks that its tables stand between:")
            print(f"{BEGIN}\n{END}")
            return 1
        start, rest = before.split(BEGIN, 1)
        after = start + tables(folder) + rest.split(END, 1)[1]
        if after != before:
            stale.append(str(readme.relative_to(ROOT)))
            if not check:
                readme.write_text(after, encoding="utf-8")
    if stale:
        print("\n".join(f"{'stale' if check else 'written'}: {name}" for name in stale))
    if stale and check:
        print("Write them anew with: python3 scripts/docs_tables.py")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
