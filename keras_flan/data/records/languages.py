"""The codes and names by which public files call a language, as one code."""

import functools
import re

# Two letters (ISO 639-1), then three (ISO 639-3, as NLLB and Aya write them),
# and the English name.
_TABLE = """
af afr Afrikaans|am amh Amharic|ar ara,arb Arabic|az aze,azj Azerbaijani
be bel Belarusian|bg bul Bulgarian|bn ben Bengali|ca cat Catalan
cs ces Czech|cy cym Welsh|da dan Danish|de deu German|el ell Greek
en eng English|es spa Spanish|et est,ekk Estonian|eu eus Basque
fa fas,pes Persian|fi fin Finnish|fr fra French|ga gle Irish|gl glg Galician
gu guj Gujarati|ha hau Hausa|he heb Hebrew|hi hin Hindi|hr hrv Croatian
hu hun Hungarian|hy hye Armenian|id ind Indonesian|ig ibo Igbo
is isl Icelandic|it ita Italian|ja jpn Japanese|jv jav Javanese
ka kat Georgian|kk kaz Kazakh|km khm Khmer|kn kan Kannada|ko kor Korean
ky kir Kyrgyz|lo lao Lao|lt lit Lithuanian|lv lav,lvs Latvian
mk mkd Macedonian|ml mal Malayalam|mn mon,khk Mongolian|mr mar Marathi
ms msa,zsm Malay|mt mlt Maltese|my mya Burmese|nb nob,nor,no Norwegian
ne nep,npi Nepali|nl nld Dutch|or ori,ory Odia|pa pan Punjabi|pl pol Polish
ps pus,pbt Pashto|pt por Portuguese|ro ron Romanian|ru rus Russian
rw kin Kinyarwanda|sd snd Sindhi|si sin Sinhala|sk slk Slovak
sl slv Slovenian|sn sna Shona|so som Somali|sq sqi,als Albanian
sr srp Serbian|sv swe Swedish|sw swa,swh Swahili|ta tam Tamil|te tel Telugu
tg tgk Tajik|th tha Thai|tl tgl,fil Filipino|tr tur Turkish|uk ukr Ukrainian
ur urd Urdu|uz uzb,uzn Uzbek|vi vie Vietnamese|wo wol Wolof|xh xho Xhosa
yo yor Yoruba|zh zho,cmn Chinese|zu zul Zulu
"""
_ENTRY = re.compile(r"(\w{2}) ([\w,]+) (\w+)")


@functools.cache
def _known() -> tuple[dict[str, str], dict[str, str]]:
    """Returns code by lower-case spelling, and English name by code."""
    codes, names = {}, {}
    for code, three, name in _ENTRY.findall(_TABLE):
        names[code] = name
        for spelling in (code, *three.split(","), name.lower()):
            codes[spelling] = code
    return codes, names


def language_code(text: str) -> str | None:
    """Returns the two-letter code of a language; None for none we know.

    Args:
        text: A code of two or three letters, with or without a script or
            region, or the English name.

    Example:
        >>> language_code("kor_Hang"), language_code("ko-KR")
        ('ko', 'ko')
        >>> language_code("Korean"), language_code("dev")
        ('ko', None)

    Source: ISO 639; NLLB (arXiv:2207.04672), table 1.
    """
    first = re.split(r"[-_ ]", text.strip().lower())[0]
    return _known()[0].get(first)


def language_name(code: str) -> str:
    """Returns the English name of a language; its code if we know none.

    Example:
        >>> language_name("ko"), language_name("tlh")
        ('Korean', 'tlh')
    """
    return _known()[1].get(code, code)
