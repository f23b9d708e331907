import time

import pytest
from fastapi.testclient import TestClient

from moalign.serving.api import create_app


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize("max_restarts", [0, 1])
def test_no_longer_live_once_the_engine_has_stopped_for_good(policy, max_restarts):
    app = create_app(policy, model_name="tiny", max_restarts=max_restarts, restart_delay=0.0)
    with TestClient(app) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        for restarts in range(1, max_restarts + 1):
            app.state.service.engine.kill_worker()
            until(lambda n=restarts: app.state.service.engine.stats().restarts == n)
            until(lambda: client.get("/health/ready").status_code == 200)
            assert client.get("/health/live").json() == {"status": "live"}
        app.state.service.engine.kill_worker()
        until(lambda: client.get("/health/live").status_code == 503)
        assert client.get("/health/live").json() == {"status": "stopped"}
        assert client.get("/health/ready").status_code == 503
