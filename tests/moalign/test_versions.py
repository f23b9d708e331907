import torch

import moalign
from moalign.versions import versions


def test_versions_are_of_what_is_installed():
    found = versions()
    assert found["moalign"] == moalign.__version__
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert versions(["moalign", "no-such-package"]) == {"moalign": moalign.__version__}
