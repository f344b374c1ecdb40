"""What `status` says about what other servers find under a name of its own, and on the
certificate of the listener."""

from .dedicated import Dedicated
from .moderated import Moderated


async def test_a_name_of_its_own_is_asked_for(dedicated: Dedicated) -> None:
    assert (await dedicated.ask("!policy status")).startswith("✅ All is well.")
    dedicated.front.answer = (502, "")
    told = await dedicated.ask("!policy status")
    assert told.startswith("⚠️ Something needs attention:")
    assert told.count("the reverse proxy answers 502: it cannot reach policybot.") == 1
    dedicated.front.answer = None
    assert (await dedicated.ask("!policy status")).startswith("✅ All is well.")


async def test_the_homeservers_name_is_not_asked_for(bot: Moderated) -> None:
    asked = bot.front.asked
    assert (await bot.ask("!policy status")).startswith("✅ All is well.")
    assert bot.front.asked == asked


async def test_a_certificate_near_its_end(bot: Moderated) -> None:
    sentence = "The TLS certificate ends within a day, on 2030-01-01."
    bot.app.listener_faults = lambda: [sentence]
    told = await bot.ask("!policy status")
    assert told.startswith("⚠️ Something needs attention:") and sentence in told
