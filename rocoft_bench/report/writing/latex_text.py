"""Any text for pdflatex with its standard fonts (OT1, Computer Modern), which know few letters beyond ASCII."""

import re
import unicodedata

SPECIAL = {
    **{character: f"\\{character}" for character in "&%#_{}"},
    "$": r"$\$$",  # mathematics, since \$ is of a font that has no outlines in a small installation
    **{character: f"${character}$" for character in "<>|"},
    **{character: f"{{{character}}}" for character in "[]*"},  # commands after the end of a table's row
    "\\": r"$\backslash$",
    "^": r"\^{}",
    "~": r"$\sim$",
    "`": r"\`{}",
    '"': "''",
}

NAMED = (
    "αalpha βbeta γgamma δdelta εvarepsilon ζzeta ηeta θtheta ιiota κkappa λlambda μmu µmu νnu ξxi πpi ρrho σsigma "
    "τtau υupsilon φvarphi χchi ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΥUpsilon ΦPhi ΨPsi ΩOmega "
    "±pm ×times ÷div ·cdot ≤leq ≥geq ≈approx ≠neq →rightarrow ←leftarrow ↔leftrightarrow ↑uparrow ↓downarrow "
    "∞infty ∈in ∇nabla ∂partial ℓell •bullet"
)
"""Characters that mathematics has, each followed by its name there."""

LETTERS = {
    "−": "$-$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\dots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": "'",
    "°": r"$^\circ$",
    "²": "$^2$",
    "³": "$^3$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}

KNOWN = {**SPECIAL, **LETTERS, **{named[0]: f"$\\{named[1:]}$" for named in NAMED.split()}}

ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
"""The command of each combining mark."""


def escaped(text: str) -> str:
    """A text of one line, nothing in it a command; a letter that the fonts do not have as its code point."""
    return re.sub("-(?=-)", "-{}", "".join(map(_character, text)))


def breakable(text: str) -> str:
    """A text for a paragraph, where a long path or name may go on in the next line."""
    return escaped(text).replace("/", r"/\allowbreak{}").replace(r"\_", r"\_\allowbreak{}")


def _character(character: str) -> str:
    if character in KNOWN:
        return KNOWN[character]
    if character.isascii():
        return character
    decomposed = unicodedata.normalize("NFD", character)
    base, mark = decomposed[0], decomposed[1:]
    if base.isascii() and base.isalpha() and mark in ACCENTS:
        return f"\\{ACCENTS[mark]}{{{base}}}"
    return rf"{{\tiny U+{ord(character):04X}}}"
