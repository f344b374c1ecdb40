import logging

import pytest

from policybot.federation.complaints import Complaints

logger = logging.getLogger("test")


def test_each_kind_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    complaints = Complaints(logger, lambda: now)
    complaints.say("one", "first")
    complaints.say("one", "second")
    complaints.say("two", "other")
    now = 159.0
    complaints.say("one", "third")
    now = 160.0
    complaints.say("one", "fourth")
    now = 10.0  # set back
    complaints.say("one", "fifth")
    assert [record.getMessage() for record in caplog.records] == [
        "first",
        "other",
        "fourth (2 more like this since the last line)",
        "fifth",
    ]
