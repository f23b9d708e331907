"""Lets the tests of this folder say `from loss_cases import ...`, with pytest's explanations of failures."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("loss_cases")
