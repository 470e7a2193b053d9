"""Names of simulated assets: pronounceable, fixed by position, never a real coin but BTC and ETH."""

from __future__ import annotations

_CONSONANTS = "BDFGKLMNPRSTVXZJ"
_VOWELS = "AEIOU"
_COUNT = (len(_CONSONANTS) * len(_VOWELS)) ** 2


def generated(count: int) -> list[str]:
    """`count` different four-letter names (at most 6400)."""
    return [_name((17 + 1103 * i) % _COUNT) for i in range(count)]


def _name(index: int) -> str:
    letters = ""
    for alphabet in (_VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS):
        index, place = divmod(index, len(alphabet))
        letters = alphabet[place] + letters
    return letters
