from policybot.endpoint.memory import Remembered, VerdictMemory


def test_remembers_signatures_and_refusals() -> None:
    memory = VerdictMemory()
    memory.put(b"a", Remembered(True, "signature"))
    memory.put(b"b", Remembered(False))
    assert memory.get(b"a") == Remembered(True, "signature")
    assert memory.get(b"b") == Remembered(False)
    assert memory.get(b"c") is None


def test_the_oldest_goes_when_it_is_full() -> None:
    memory = VerdictMemory(size=2)
    for key in (b"a", b"b", b"c"):
        memory.put(key, Remembered(False))
    assert len(memory) == 2
    assert memory.get(b"a") is None
    assert memory.get(b"b") == memory.get(b"c") == Remembered(False)


def test_putting_again_drops_no_other() -> None:
    memory = VerdictMemory(size=2)
    for key in (b"a", b"b", b"b"):
        memory.put(key, Remembered(False))
    memory.put(b"b", Remembered(True, "signature"))
    assert memory.get(b"a") == Remembered(False)
    assert memory.get(b"b") == Remembered(True, "signature")
