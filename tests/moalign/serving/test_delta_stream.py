import asyncio
import threading

import pytest

from moalign.serving.delta_stream import Mailbox, Mailboxes
from moalign.serving.request import Delta


def letter(i):
    return Delta(i, 0, "", ())


def test_the_loop_is_woken_once_for_many_letters_and_they_keep_their_order():
    async def main():
        loop = asyncio.get_running_loop()
        woken = []
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *a: (woken.append(1), wake(*a))
        box = Mailbox(loop)
        queues = [asyncio.Queue(), asyncio.Queue()]
        thread = threading.Thread(target=lambda: [box.post(queues[i % 2], letter(i)) for i in range(100)])
        thread.start()
        thread.join()  # the loop is held up meanwhile
        got = [[(await q.get()).request for _ in range(50)] for q in queues]
        assert got == [list(range(0, 100, 2)), list(range(1, 100, 2))]
        assert len(woken) == 1
        box.post(queues[0], letter(7))
        assert (await queues[0].get()).request == 7

    asyncio.run(main())


def test_a_closed_loop_is_told():
    loop = asyncio.new_event_loop()
    box = Mailboxes().of(loop)
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            box.post(asyncio.Queue(), letter(0))


def test_each_loop_has_its_own_box():
    boxes = Mailboxes()
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    assert boxes.of(first) is boxes.of(first)
    assert boxes.of(first) is not boxes.of(second)
    first.close()
    second.close()
