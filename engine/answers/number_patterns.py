r"""How numbers are written in LaTeX and in mathematics, as patterns: groups of digits, exponents,
fractions and roots."""

from __future__ import annotations

import re

MOST_DIGITS = 400
"""Of a number worth reading, and characters of an expression."""

GROUP_SIGNS = "'’_\u2009\u00a0\u202f\u2008\u2007"
"""What stands between groups of three digits besides the comma: ISO 80000's thin spaces, apostrophe
and underscore."""
_COMMA = r"(?:,|\{,\}|\\!,|,\\!)"
"""A comma, as LaTeX writes it where no space may follow."""
_OTHER = rf"(?:[{GROUP_SIGNS}]|\\[,!;: _]|~|\{{\\,\}}|\{{ \}})"
"""Another group sign, or one of LaTeX's spaces."""
_BY_OTHER = rf"(?P<group>{_OTHER})\d{{3}}(?:(?P=group)\d{{3}})*"
GROUPED = rf"[1-9]\d{{0,2}}(?:(?:{_COMMA}\d{{3}})+|{_BY_OTHER})(?!\d)"
"""One kind of separator throughout: `1 234,567` has a decimal comma."""
PLAIN = rf"(?:{GROUPED}|\d+)(?:\.\d+)?|\.\d+"
"""Digits, grouped or not, with or without a decimal point."""
VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
FRACTION = r"\\[dtc]?frac(?![A-Za-z])"
ROOT = r"\\sqrt(?![A-Za-z])|√"

DIGITS = re.compile(
    rf"(?:{PLAIN})"
    r"(?:[eE][+-]?\d{1,3}(?![\w.]))?"  # 2e5, but not 2e5x
)
SPACE = re.compile(
    r"(?:\s|\\[,;:!> ]|~"
    r"|\\(?:left|right|displaystyle|(?:thin|med|thick)space|q?quad)(?![A-Za-z]))*"
)
"""Whatever LaTeX writes and does not mean: spaces, sizes."""
REPEATING = re.compile(r"\\(?:overline|bar|dot)\s*(?:\{\s*(\d{1,50})\s*\}|(\d))")
r"""Digits that repeat for ever, `\overline{3}` or `\dot3`."""
FRACTION_SIGN = re.compile(FRACTION)
ROOT_SIGN = re.compile(
    rf"(?:{ROOT})"
    r"(?:\s*\[\s*(\d{1,3})\s*\])?"  # its degree
)
TIMES = re.compile(
    r"\\times(?![A-Za-z])|\\cdot(?![A-Za-z])"
    r"|[×·*x](?=\s*10\s*[\^⁻⁰¹²³⁴⁵⁶⁷⁸⁹])"  # x only before a power of ten
)
EXPONENT = re.compile(
    r"\s?\^\s*"
    r"(?:\{\s*(?P<braced>[-−+]?\s*\d{1,4})\s*\}"  # ^{-3}
    r"|\(\s*(?P<round>[-−+]?\d{1,4})\s*\)"  # ^(3)
    r"|(?P<bare>[-−]?\d{1,4}))"  # ^3
    rf"|(?P<raised>⁻?[{SUPERSCRIPT}]{{1,4}})"  # ³
)
