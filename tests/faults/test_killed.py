from .live import Live

async def test_a(live: Live) -> None:
    await live.start()
    room = await live.enabled()
    print((await live.sign(room)))
    for r in live.homeserver.requests:
        print(r.method, r.path, r.query)
    await live.stop()
    assert 0
