import importlib.util
import sys

import pytest

from policybot.demo import requirements, story

_VARIABLE = "POLICYBOT_DEMO_SYNAPSE_PYTHON"


def test_missing_packages_are_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(_VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = requirements.what_is_missing()
    assert sentence is not None
    assert "cryptography and synapse" in sentence
    assert "policybot[demo]" in sentence

    assert story.main(keep=False) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [sentence]


def test_another_interpreter_for_synapse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_VARIABLE, raising=False)
    assert requirements.synapse_python() == sys.executable
    monkeypatch.setenv(_VARIABLE, "/elsewhere/python")
    assert requirements.synapse_python() == "/elsewhere/python"
    assert requirements.what_is_missing() is None
