import json
import os
import sys


def test_text_and_json_say_the_same(moalign):
    code, text, _ = moalign("env")
    assert code == 0
    report = json.loads(moalign("env", "--json")[1])
    assert report["packages"]["torch"] in text
    assert report["packages"]["vllm"] in text
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["cores"] >= 1


def test_no_paths_of_the_machine(moalign):
    text = moalign("env", "--json")[1]
    assert os.sep not in text.replace("\\/", "")
