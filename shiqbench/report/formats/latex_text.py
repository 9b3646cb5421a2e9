"""Text for LaTeX: what every character becomes, and how wide it is."""

from __future__ import annotations

import re
import unicodedata

_ASCII = {c: "\\" + c for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\ttfamily\char34}",  # in the usual font encoding only the typewriter font has it
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a row, [ and * are arguments
    "*": "{*}",
}
_LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)")
_VARIANTS = {"EPSILON": "varepsilon", "PHI": "varphi", "FINAL SIGMA": "varsigma"}
_LATIN_LOOK = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))  # LaTeX has no commands for them
_MATH = {
    "≤": r"\leq", "≥": r"\geq", "≠": r"\neq", "≈": r"\approx", "≡": r"\equiv", "∼": r"\sim", "∝": r"\propto",
    "→": r"\rightarrow", "←": r"\leftarrow", "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "↦": r"\mapsto",
    "↑": r"\uparrow", "↓": r"\downarrow", "−": "-", "∞": r"\infty", "√": r"\surd", "∈": r"\in", "∉": r"\notin",
    "∑": r"\sum", "∏": r"\prod", "∂": r"\partial", "∇": r"\nabla", "∫": r"\int", "∅": r"\emptyset", "∀": r"\forall",
    "∃": r"\exists", "∧": r"\wedge", "∨": r"\vee", "∩": r"\cap", "∪": r"\cup", "⊂": r"\subset", "⊆": r"\subseteq",
    "⊕": r"\oplus", "⊗": r"\otimes", "⊤": r"\top", "⊥": r"\perp", "⋅": r"\cdot", "∘": r"\circ", "∗": r"\ast",
    "∥": r"\parallel", "ℓ": r"\ell", "ϕ": r"\phi", "ϵ": r"\epsilon", "ϑ": r"\vartheta", "…": r"\ldots", "†": r"\dagger",
    "‡": r"\ddagger",
}  # fmt: skip
NEEDS_T1 = frozenset("«»ÐðÞþĐđŊŋĄąĘęĮįŲų‚„‹›")
_KNOWN = frozenset(c for c in map(chr, range(0xA1, 0x180)) if c not in "ĦħŉĿŀŦŧĸſ\xad") | frozenset("–—‘’“”•€‰™‚„‹›")

_WIDTHS = {
    "ijl,.:;'!|[]`": 2.78, "f -()tI": 3.9, "rsczeJ?_": 5.2, "ago0123456789/*\"$^~\\{}": 5.0, "bdhnpqukvxyS": 5.56,
    "LFZPER": 7.4, "wABCDGHKNOQTUVXY&@+=<>": 7.85, "m%#MW": 10.3,
}  # fmt: skip
_WIDTH = {c: width for chars, width in _WIDTHS.items() for c in chars}  # Computer Modern at 10 pt, rounded up


def escaped(text: str) -> str:
    """The text for LaTeX with any engine; a character without a command is shown by its code, as ``[U+65E5]``."""
    return "{}".join("".join(map(_character, part)) for part in _LIGATURES.split(text))


def _character(c: str) -> str:
    if c.isascii() or c in _KNOWN:
        return _ASCII.get(c, c)
    if c in _LATIN_LOOK:
        return _LATIN_LOOK[c]
    if c in _MATH:
        return f"${_MATH[c]}$"
    if greek := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+|FINAL SIGMA)", unicodedata.name(c, "")):
        name = greek[2].replace("LAMDA", "LAMBDA")
        return f"$\\{name.capitalize()}$" if greek[1] == "CAPITAL" else f"$\\{_VARIANTS.get(name, name.lower())}$"
    if script := re.fullmatch(r"<(super|sub)> (00[2-7][0-9A-F]|2212)", unicodedata.decomposition(c)):
        sign = chr(int(script[2], 16)).replace("−", "-")
        return f"${'^' if script[1] == 'super' else '_'}{{{sign}}}$"
    return f"{{[}}U+{ord(c):04X}]"


def width(text: str) -> float:
    """About the width in pt, at 10 pt in Computer Modern; a little more than the true one."""
    return sum(_WIDTH.get(c, 8.0) for c in text)
