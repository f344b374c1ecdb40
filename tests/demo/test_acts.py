import pytest
from aiohttp import ClientError

from policybot.demo.acts import REFERENCE_CODE, StepFailed, telling
from policybot.demo.child_process import ProcessFailed
from policybot.demo.user import MatrixRefusal, NotSeen
from policybot.policy.verdict import reference_code


def test_a_step_is_one_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with telling("try it") as tell:
        tell("It happened.")
        tell("(And was seen.)")
    output = capsys.readouterr().out
    assert output.endswith(" s  It happened. (And was seen.)\n")
    assert float(output.split()[0]) >= 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MatrixRefusal(500, "M_UNKNOWN", "Internal server error"), "500 M_UNKNOWN: Internal"),
        (NotSeen("nothing came"), "try it: nothing came"),
        (ProcessFailed("policybot", "ended", ["last words"]), "try it: policybot ended"),
        (TimeoutError(), "try it: TimeoutError"),
        (ClientError("connection closed"), "try it: connection closed"),
        (StepFailed("it is not signed"), "try it: it is not signed"),
    ],
)
def test_a_step_that_does_not_happen_prints_nothing(
    capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    with pytest.raises(StepFailed, match=sentence), telling("try it") as tell:
        tell("It happened.")
        raise error
    assert capsys.readouterr().out == ""


def test_an_error_of_our_own_is_not_made_a_step_that_failed() -> None:
    with pytest.raises(KeyError), telling("try it"):
        raise KeyError("a bug")


def test_the_reference_code_is_found_in_a_sentence() -> None:
    for number in (0, 1, 255):
        code = reference_code(bytes([number]) * 32)
        found = REFERENCE_CODE.search(f"Your message was refused (reference {code}).")
        assert found is not None and found.group() == code
