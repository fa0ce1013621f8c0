"""Which script a text is written in: a simple look at its letters.

The script says the language of Bengali or Thai, but not which language is
written in Latin letters.
"""

import numpy as np

# First and last code points of letters, from the Unicode blocks.
_RANGES = {
    "Latin": [
        *((0x41, 0x5A), (0x61, 0x7A)),
        *((0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x24F)),
        (0x1E00, 0x1EFF),
    ],
    "Greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "Cyrillic": [(0x400, 0x52F)],
    "Armenian": [(0x531, 0x587)],
    "Hebrew": [(0x5D0, 0x5EA)],
    "Arabic": [(0x620, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF)],
    "Devanagari": [(0x900, 0x97F)],
    "Bengali": [(0x980, 0x9FF)],
    "Gurmukhi": [(0xA00, 0xA7F)],
    "Gujarati": [(0xA80, 0xAFF)],
    "Odia": [(0xB00, 0xB7F)],
    "Tamil": [(0xB80, 0xBFF)],
    "Telugu": [(0xC00, 0xC7F)],
    "Kannada": [(0xC80, 0xCFF)],
    "Malayalam": [(0xD00, 0xD7F)],
    "Sinhala": [(0xD80, 0xDFF)],
    "Thai": [(0xE00, 0xE7F)],
    "Lao": [(0xE80, 0xEFF)],
    "Tibetan": [(0xF00, 0xFFF)],
    "Burmese": [(0x1000, 0x109F)],
    "Georgian": [(0x10A0, 0x10FF)],
    "Ethiopic": [(0x1200, 0x139F)],
    "Khmer": [(0x1780, 0x17FF)],
    "Hangul": [(0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)],
    "Kana": [(0x3041, 0x30FF)],
    "Han": [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x3FFFF)],
}
NO_LETTERS = "no letters"
# Japanese is written in both; a Chinese text has no kana.
_JAPANESE = "Japanese (kana and Han)"
_NAMES = [NO_LETTERS, *_RANGES]
_SPANS = sorted(
    (first, last + 1, _NAMES.index(name))
    for name, ranges in _RANGES.items()
    for first, last in ranges
)
# Between two bounds, all code points are of one script, or of none (0).
_BOUNDS = np.array([bound for span in _SPANS for bound in span[:2]])
_SCRIPTS = np.array([0, *(n for span in _SPANS for n in (span[2], 0))])


def main_script(text: str) -> str:
    """Returns the script of most letters of a text.

    Example:
        >>> main_script("Wie viel ist 2 + 2?"), main_script("কত?")
        ('Latin', 'Bengali')
    """
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
    places = np.searchsorted(_BOUNDS, codes, side="right")
    counts = np.bincount(_SCRIPTS[places], minlength=len(_NAMES))
    counts[0] = 0
    name = _NAMES[int(counts.argmax())]
    if name in ("Han", "Kana") and counts[_NAMES.index("Kana")]:
        return _JAPANESE
    return name
