import pytest
from fastapi.testclient import TestClient

from moalign.serving.api import create_app


@pytest.mark.parametrize("chat", [True, False])
def test_the_card_says_whether_there_is_chat(policy, monkeypatch, chat):
    if not chat:
        monkeypatch.setattr(policy.tokenizer, "chat_template", None)
    with TestClient(create_app(policy, model_name="tiny")) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        assert client.get("/v1/models/tiny").json()["chat_template"] is chat
        assert client.get("/v1/models").json()["data"][0]["chat_template"] is chat
        body = {"messages": [{"role": "user", "content": "w1"}], "max_tokens": 1}
        assert client.post("/v1/chat/completions", json=body).status_code == (200 if chat else 400)
