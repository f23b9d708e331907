"""Let griffe read our docstrings: Google's sections with types in Hugging Face's form, which the signature knows better."""

import re
from typing import Any

import griffe

# `name (`type`, *optional*, defaults to `x`): ...`; also a section that goes on in the line of its title.
ENTRY = re.compile(
    r"^(?P<indent>[ ]+)(?P<name>\*{0,2}\w+(?:, \w+)*) \((?:`[^`\n]*`|\*optional\*|[^()\n`]|\([^()\n]*\))*\):", re.M
)
SECTION = re.compile(r"^(Args|Raises|Returns): (?=\S)", re.M)


class SignatureTypes(griffe.Extension):
    """Leave the types of arguments to the annotations, which are checked."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for every object."""
        if obj.docstring is not None:
            text = ENTRY.sub(r"\g<indent>\g<name>:", obj.docstring.value)
            text = re.sub(r"^Example:$", "Examples:", text, flags=re.M)
            obj.docstring.value = SECTION.sub(r"**\1**: ", text)
