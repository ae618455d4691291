"""Free texts of `protect`: what recognisers find in one gives way to a word for it, such as `<PHONE_NUMBER>`.

The recognisers are Presidio's own that go by patterns, and some of ours; none of them has a model of a language, so
**no name and no place is ever found**. They are asked directly: Presidio's engine wants a model, and tries to download
one where there is none. It is an extra (`texts`), which is large.

Presidio skips a pattern that took too long, and writes a text that it can't read to a log. Here the first is a text
that can't be treated, which lands as nothing, and the second does not happen.
"""

import functools
import logging
from importlib.util import find_spec
from typing import Any

from pipelines.errors import ConfigurationError

LEAST_SCORE = 0.2
"""What counts as found. A telephone number has 0.4, `03/2021` has 0.2; the sixth of a pain scale, `5/10`, has 0.1."""

LONGEST = 100_000
"""Characters above which a text is not read."""

_DIALLED = 6
"""Digits that a telephone number has at least."""

_MONTHS = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_OWN = {
    "DATE_TIME": (
        rf"\b{_MONTHS}\.? \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{2,4}}\b)?",
        rf"\b\d{{1,2}}(?:st|nd|rd|th)?\.? (?:of )?{_MONTHS}\b\.?(?:,? \d{{2,4}}\b)?",
        rf"\b{_MONTHS},? (?:19|20)\d\d\b",
        r"\b(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{0,6}\b",
    ),
    "AGE": (r"\b(?:9\d|1[0-4]\d)(?=[ -]?(?:years?|yrs?|y/?o)\b)", r"(?<=\baged? )(?:9\d|1[0-4]\d)\b"),
    "NUMBER": (
        r"(?<![\w.])[a-z]{0,4}[-#]?\d{6,}",
        r"\b(?:ssn|mrn|record|patient|account|acct|member|policy|insurance|license|licence|passport|serial|vin|zip)"
        r"(?: (?:no|number|id|code))?[.:#= ]{1,3}[\w-]*\d[\w-]*",
    ),
    # Presidio passes over the number that forms give as their example.
    "US_SSN": (r"(?<!\d)\d{3}[- ]\d\d[- ]\d{4}(?!\d)",),
    "PHONE_NUMBER": (
        r"(?<![\w.])(?:\+\d{1,3}[ ./-]?\(?\d{2}[\d ()./-]*\d|\(\d{3}\) ?\d{3}[ .-]?\d*|\d{3}[ .-]\d{3}[ .-]\d{4})",
    ),
    "URL": (r"\b(?:https?|ftp|file)://\S+", r"\bwww\.[\w-]+\.\S+"),
    "IP_ADDRESS": (r"(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}:?[0-9a-f]{1,4}(?![\w:])",),
}
"""What Presidio's own patterns leave out: dates in words, ages over 89, numbers as such, and what `values` finds."""


def check_installed() -> None:
    """Refuse a run that needs the recognisers where they are not.

    Raises:
        ConfigurationError: they are not.
    """
    if find_spec("presidio_analyzer") is None or find_spec("presidio_anonymizer") is None:
        raise ConfigurationError(
            "source.protect treats texts by 'text', and this worker has no recogniser for it: install the extra "
            "'texts' where workers run (pip install presidio-analyzer presidio-anonymizer), or use drop."
        )


class _Silent(logging.Filter):
    """Lets nothing of Presidio's into a log; a pattern that it gave up is an error instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "timed out" in str(record.msg):
            raise TimeoutError
        return False


class Recogniser:
    """What finds parts of texts, and what puts words in their place."""

    def __init__(self) -> None:
        from presidio_analyzer import Pattern, PatternRecognizer  # noqa: PLC0415  # seconds, and not everywhere
        from presidio_analyzer import predefined_recognizers as of_presidio  # noqa: PLC0415
        from presidio_anonymizer import AnonymizerEngine  # noqa: PLC0415

        logging.getLogger("presidio-analyzer").addFilter(_Silent())
        # Presidio's own asks the web for a list of domains.
        email = PatternRecognizer("EMAIL_ADDRESS", patterns=of_presidio.EmailRecognizer.PATTERNS)
        self._recognisers: list[Any] = [
            of_presidio.PhoneRecognizer(),
            email,
            *(
                getattr(of_presidio, f"{name}Recognizer")()
                for name in (
                    "Date", "Ip", "MacAddress", "Url", "Uuid", "Iban", "CreditCard", "Crypto", "UsSsn", "UsItin",
                    "UsMbi", "UsLicense", "MedicalLicense", "UsNpi",
                )
            ),
            *(
                PatternRecognizer(entity, patterns=[Pattern(entity, pattern, 0.5) for pattern in patterns])
                for entity, patterns in _OWN.items()
            ),
        ]  # fmt: skip
        self._engine: Any = AnonymizerEngine()  # type: ignore[no-untyped-call]

    def __call__(self, value: Any) -> str | None:
        """A text as it may land; None for what is no text, or is too long, or was given up."""
        if not isinstance(value, str) or len(value) > LONGEST:
            return None
        try:
            # The one for telephone numbers takes more time than all others, and looks for six digits or more.
            asked = self._recognisers if sum(map(str.isdecimal, value)) >= _DIALLED else self._recognisers[1:]
            found = [
                each
                for recogniser in asked
                for each in recogniser.analyze(value, recogniser.supported_entities, None)
                if each.score >= LEAST_SCORE
            ]
        except TimeoutError:
            return None
        return str(self._engine.anonymize(value, found).text) if found else value


recogniser = functools.cache(Recogniser)
"""The recogniser of this process, made when the first text comes."""
