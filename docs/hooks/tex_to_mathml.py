"""Formulas that a browser draws by itself: the TeX of our docstrings as MathML, with no script and nothing from the network."""

import re
from html import escape

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)


def _pairs(text: str) -> dict[str, str]:
    """`"le ≤ ge ≥"` as a table."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


LETTERS = _pairs(
    "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ kappa κ lambda λ mu μ nu ν xi ξ pi π rho ρ "
    "sigma σ tau τ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Sigma Σ Phi Φ Psi Ψ Omega Ω ell ℓ "
    "infty ∞ emptyset ∅ top ⊤ partial ∂ nabla ∇"
)
OPERATORS = _pairs(
    "le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠ approx ≈ sim ∼ propto ∝ succ ≻ prec ≺ to → leftarrow ← rightarrow → Rightarrow ⇒ "
    "mapsto ↦ cdot ⋅ times × odot ⊙ oplus ⊕ pm ± mp ∓ setminus ∖ cup ∪ cap ∩ forall ∀ exists ∃ dots … ldots … cdots ⋯ "
    "subset ⊂ subseteq ⊆ equiv ≡ int ∫ in ∈ notin ∉ mid ∣ # # % % & & _ _ $ $"
)
DELIMITERS = {
    **{name: name for name in "()[]|/."},
    **_pairs(r"\{ { \} } \| ‖ \lVert ‖ \rVert ‖ \langle ⟨ \rangle ⟩ \lvert | \rvert | \lfloor ⌊ \rfloor ⌋"),
}
LARGE = _pairs("sum ∑ prod ∏ bigcup ⋃ bigcap ⋂")
LIMITS = {"max", "min", "arg", "sup", "inf", "lim", "det"}
FUNCTIONS = LIMITS | {"log", "exp", "sin", "cos", "tan", "ln", "tanh"}
SPACES = {",": "0.17em", ":": "0.22em", ";": "0.28em", "!": "-0.17em", " ": "0.25em", "quad": "1em", "qquad": "2em"}
ACCENTS = _pairs("bar ¯ hat ^ tilde ~ overline ¯ vec → dot ˙")
SIZES = _pairs("big 1.2em Big 1.8em bigg 2.4em Bigg 3em")
SCRIPT = dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True))
DOUBLE = dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))
PLAIN = {"-": "−", "*": "∗"}
THIN = '<mspace width="0.17em"/>'


class UnknownTeX(ValueError):
    """A command that this converter does not know; the page shows the TeX instead."""


def to_mathml(tex: str, display: bool = False) -> str:
    r"""The formula as a `<math>` element, or as several that may stand below each other where it is cut by `\\quad`.

    Args:
        tex: without its dollars.
        display: on a line of its own: limits stand under and over their sums.

    Raises:
        UnknownTeX: a command that is not known, or braces that do not match.
    """
    attribute = ' displaystyle="true"' if display else ""
    parts = _parts(tex) if display else [tex]
    return " ".join(f"<math{attribute}><mrow>{_Parser(part, display).row(None)}</mrow></math>" for part in parts)


def _parts(tex: str) -> list[str]:
    """What stands between wide spaces outside of all braces."""
    depth, parts = 0, [""]
    for token in TOKEN.findall(tex):
        depth += (token in ("{", r"\left", r"\begin")) - (token in ("}", r"\right", r"\end"))
        if token in (r"\quad", r"\qquad") and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part for part in parts if part.strip()]


class _Parser:
    """Reads tokens from left to right; every method returns MathML."""

    def __init__(self, tex: str, display: bool) -> None:
        self.tokens = TOKEN.findall(tex.strip())
        self.at = 0
        self.display = display

    def peek(self) -> str | None:
        """The next token that is not a space."""
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self) -> str:
        token = self.peek()
        if token is None:
            raise UnknownTeX("the formula ends too early")
        self.at += 1
        return token

    def row(self, stop: str | None) -> str:
        """Everything up to `stop`, which is taken as well."""
        parts = []
        while (token := self.peek()) != stop:
            if token is None:
                raise UnknownTeX(f"{stop} is missing")
            if token[1:] in FUNCTIONS and parts and not parts[-1].endswith(("</mo>", THIN)):
                parts.append(THIN)
            parts.append(self.scripted())
        if stop is not None:
            self.next()
        return "".join(parts)

    def group(self) -> str:
        """The argument of a command or a script: a group in braces or one symbol."""
        if self.peek() == "{":
            self.next()
            return f"<mrow>{self.row('}')}</mrow>"
        return self.atom()[0]

    def raw(self) -> str:
        """The text of a group in braces, or one symbol, as it stands."""
        if (token := self.next()) != "{":
            return token
        depth, start = 1, self.at
        while depth:
            if self.at >= len(self.tokens):
                raise UnknownTeX("} is missing")
            depth += {"{": 1, "}": -1}.get(self.tokens[self.at], 0)
            self.at += 1
        return "".join(self.tokens[start : self.at - 1])

    def scripted(self) -> str:
        """A symbol with what stands below and above it."""
        base, limits, function = self.atom()
        below, above = "", ""
        while (token := self.peek()) in ("_", "^", "'"):
            self.next()
            if token == "_":
                below += self.group()
            elif token == "^":
                above += self.group()
            else:
                above += "<mo>′</mo>"
        above = f"<mrow>{above}</mrow>" if above.count("<mo>′</mo>") else above
        kind = "under over" if limits and self.display else "sub sup"
        low, high = kind.split()
        if below and above:
            base = f"<m{low}{high}>{base}{below}{above}</m{low}{high}>"
        elif below or above:
            name = low if below else high
            base = f"<m{name}>{base}{below or above}</m{name}>"
        if function and self.peek() not in (None, "(", "[", "}", r"\big", r"\Big", r"\left", r"\,"):
            base += THIN
        return base

    def atom(self) -> tuple[str, bool, bool]:
        """One symbol or construct; whether its scripts are limits; whether it is the name of a function."""
        token = self.next()
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>", False, False
        if token in "}&^":
            raise UnknownTeX(f"{token} where a symbol is expected")
        if token.startswith("\\") and token not in DELIMITERS:
            return self.command(token[1:])
        if token in DELIMITERS and token not in "/.":
            return f'<mo stretchy="false">{DELIMITERS[token]}</mo>', False, False
        if token[0].isdigit():
            return f"<mn>{token}</mn>", False, False
        if token.isalpha() or token == "∞":
            return f"<mi>{token}</mi>", False, False
        return f"<mo>{escape(PLAIN.get(token, token))}</mo>", False, False

    def command(self, name: str) -> tuple[str, bool, bool]:
        """What a backslash and a name stand for."""
        if name in LETTERS:
            return f"<mi>{LETTERS[name]}</mi>", False, False
        if name in OPERATORS:
            return f"<mo>{escape(OPERATORS[name])}</mo>", False, False
        if name in LARGE:
            return f"<mo>{LARGE[name]}</mo>", True, False
        if name in FUNCTIONS:
            return f"<mi>{name}</mi>", name in LIMITS, True
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}"/>', False, False
        return self.construct(name)

    def construct(self, name: str) -> tuple[str, bool, bool]:
        """Commands with arguments."""
        if name in ("frac", "tfrac", "dfrac"):
            size = ' displaystyle="false"' if name == "tfrac" else ""
            return f"<mfrac{size}>{self.group()}{self.group()}</mfrac>", False, False
        if name == "binom":
            inside = f'<mfrac linethickness="0">{self.group()}{self.group()}</mfrac>'
            return f"<mrow><mo>(</mo>{inside}<mo>)</mo></mrow>", False, False
        if name == "sqrt":
            return f"<msqrt>{self.group()}</msqrt>", False, False
        if name in ("text", "textrm", "mbox"):
            return f"<mtext>{escape(self.raw()).replace(' ', '&nbsp;')}</mtext>", False, False
        if name in ("mathrm", "operatorname", "mathbf", "mathit"):
            return self.named(self.raw(), bold=name == "mathbf"), False, name == "operatorname"
        if name in ("mathcal", "mathbb"):
            table = SCRIPT if name == "mathcal" else DOUBLE
            first, plain = ("𝒜", "A") if name == "mathcal" else ("𝔸", "A")
            letters = (table.get(c) or chr(ord(first) + ord(c) - ord(plain)) for c in self.raw().strip())
            return f"<mi>{''.join(letters)}</mi>", False, False
        if name in ACCENTS:
            return f'<mover accent="true">{self.group()}<mo>{ACCENTS[name]}</mo></mover>', False, False
        if name == "underbrace":
            return f"<munder>{self.group()}<mo>⏟</mo></munder>", True, False
        if name in SIZES or name[:-1] in SIZES:
            size = SIZES.get(name) or SIZES[name[:-1]]
            return f'<mo minsize="{size}" maxsize="{size}">{self.delimiter()}</mo>', False, False
        if name == "left":
            opening, body, closing = self.delimiter(), self.row(r"\right"), self.delimiter()
            return f"<mrow>{_fence(opening)}{body}{_fence(closing)}</mrow>", False, False
        if name == "begin":
            return self.table(), False, False
        if name in ("textstyle", "displaystyle", "limits"):
            return "", False, False
        raise UnknownTeX(f"\\{name} is not known")

    def named(self, text: str, bold: bool) -> str:
        """Upright text; commands within it are read as formulas."""
        if re.fullmatch(r"[\w\s.,+\-/]*", text) and "_" not in text:
            style = ' mathvariant="normal"' if len(text) == 1 and not bold else ""
            weight = ' style="font-weight: bold"' if bold else ""
            return f"<mi{style}{weight}>{escape(text)}</mi>"
        return f"<mrow>{_Parser(text, self.display).row(None)}</mrow>"

    def delimiter(self) -> str:
        token = self.next()
        if token not in DELIMITERS:
            raise UnknownTeX(f"{token} is no delimiter")
        return DELIMITERS[token]

    def table(self) -> str:
        """`cases`, `aligned` and matrices."""
        kind = self.raw()
        rows, cell = [[]], ""
        while (token := self.peek()) != r"\end":
            if token is None:
                raise UnknownTeX(f"\\end{{{kind}}} is missing")
            if token in ("&", r"\\"):
                self.next()
                rows[-1].append(cell)
                cell = ""
                if token == r"\\":
                    rows.append([])
            else:
                cell += self.scripted()
        rows[-1].append(cell)
        self.next()
        self.raw()
        body = "".join(f"<mtr>{''.join(f'<mtd>{c}</mtd>' for c in row)}</mtr>" for row in rows if any(row))
        opening = {"cases": "{", "pmatrix": "(", "bmatrix": "["}.get(kind, "")
        closing = {"pmatrix": ")", "bmatrix": "]"}.get(kind, "")
        align = ' columnalign="left"' if kind == "cases" else ""
        return f"<mrow>{_fence(opening)}<mtable{align}>{body}</mtable>{_fence(closing)}</mrow>"


def _fence(text: str) -> str:
    return f'<mo fence="true" stretchy="true">{text}</mo>' if text not in ("", ".") else ""
