"""Words of texts in other scripts than the Latin one, of which ROUGE as rouge-score computes it sees nothing.

It keeps a-z and 0-9 only, so that two equal texts in Chinese or Russian score 0, or 1 whatever they say where both
have the same digits.
"""

import unicodedata

import regex

_LETTER = regex.compile(r"\p{L}")
_OTHER_LETTER = regex.compile(r"[\p{L}--\p{Latin}]", regex.V1)
_WITHOUT_BLANKS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no blank between words."""
_WORD = regex.compile(
    rf"[[{_WITHOUT_BLANKS}]&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_WITHOUT_BLANKS}]]+", regex.V1
)


def is_of_other_script(text: str) -> bool:
    """Whether more than half of the letters are not Latin ones.

    >>> is_of_other_script("Fog stopped the ferry to Владивосток"), is_of_other_script("2024年, IBM 在北京")
    (False, True)
    """
    return not text.isascii() and 2 * len(_OTHER_LETTER.findall(text)) > len(_LETTER.findall(text))


class UnicodeWords:
    """A tokenizer for rouge-score: words in lower case, single characters where a script does not part words."""

    def tokenize(self, text: str) -> list[str]:
        """
        >>> UnicodeWords().tokenize("Туман остановил паром. 北京 2024!")
        ['туман', 'остановил', 'паром', '北', '京', '2024']
        """
        return _WORD.findall(unicodedata.normalize("NFKC", text).lower())
