"""What tests have to say beside passing, printed once at the end of the run.

`record_property(SAYS, text)` in a test, so that it reaches the terminal from parallel workers too.
"""

from __future__ import annotations

import pytest

SAYS = "says"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said: dict[str, None] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == SAYS:
                    said[text] = None
    for text in said:
        terminalreporter.write_line(text)
