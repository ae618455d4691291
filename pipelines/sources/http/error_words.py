"""Harmless words of a server's error: those of a closed list, and names that were asked for.

Messages of servers quote what they were sent and what they hold: FHIR's `diagnostics` a name or a birth date, REDCap's
errors the token. Taking out quotes and digits would leave a name in the middle of a sentence. So the other way round:
only words stay that are in the list below, which has none that is anybody's name, in the way they are written in a
sentence, and names of the connector's own (resource types, forms, parameters). All else becomes "...".

Everything here is pure.
"""

import re
from collections.abc import Iterable

LONGEST = 160

_TEXT = """
    allow allows deadlock do down enter fill follow following go heap here incomplete let list lists off ok really reset
    restart seconds send sending slow space too unavailable unique unreachable upload violates
    a about accept accepted access account active actually again all allowed already also an and another any anymore
    api are argument arguments array as at attempt authentication authorization authorized available back backend
    bad be because been before below between body boolean both but by bytes cache cached call called calls can
    cannot change changed character characters client closed code column columns combination combined complete
    completed concurrent condition configuration configured conflict connection contact contain contained containing
    contains content contents could count criteria currently cursor data database date dates datetime day days
    deleted denied deprecated did different directory disabled disk does doing done down due duplicate during each
    either element elements empty enabled encoding end ended endpoint enough entries entry error errors event events
    exceed exceeded exceeds exception execute executed execution exist exists expected expiration expired export
    exported exporting fail failed fails failure fatal feature fetch field fields file filter filtering filters find
    finished for forbidden form format forms found from full function gateway get given group had handle has have
    header headers hour hours id identifier if ignored in include included including incomplete incorrect index
    instance instead instrument instruments integer interaction interface internal into invalid is it item items its
    job json keep key keys kind large larger last later length less limit limited limits line link list loading
    locked logging login long longer lookup made maintenance malformed many match matches maximum may memory message
    method minimum minute minutes missing mode modifier more most multiple must name named names need needed needs
    never new next no none not nothing now null number numbers object of offset old on once one only operation
    operator option options or order other out outside over page pages paging parallel parameter parameters parse
    parsed parsing partial patient patients per perform performed permission permissions permitted please pool
    position possible prevented previous privileges problem process processed processing project projects property
    provide provided queries query queue quota range rate reached read reading reason received record records
    refused rejected repeat report request requested requests require required requires resource resources response
    responses result results retry returned right rights row rows running same schema scope search searches
    searching second seconds see select semantics sent server servers service services session set shutdown since
    size some soon sort sorted sorting specified specify standard start started starting state statement status step
    still stop stopped storage string subject such supplied support supported supports syntax system table
    temporarily temporary tenant text than that the their them there these they this those threshold throttled time
    timeout timestamp to token tokens too total transaction try trying type types unable unauthorized unavailable
    under unexpected unknown unrecognized unsupported until update updated upgrade upstream url usage use used user
    users using valid validation value values version view wait was were what when where which while with within
    without write wrong yet you your
"""
_WORDS = frozenset(_TEXT.split()) | {"API", "FHIR", "HTTP", "ID", "JSON", "REDCap", "SQL", "URL"}

_ALSO_NAMES = frozenset(
    {"bad", "day", "do", "down", "field", "heap", "job", "large", "long", "may", "page", "pool", "read"}
)
"""Words of the list that are family names as well: with a capital they are shown nowhere, not even as the first."""


def is_harmless(name: str) -> bool:
    """Whether a name is made of words of the list alone: keys of an answer may be names of patients."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^A-Za-z_.-]+", name)
    return bool(words) and all(word in _WORDS or _is_word(word) for word in words)


def _is_word(word: str) -> bool:
    """Whether a word at the beginning of a sentence is in the list, by its small letters."""
    return word[:1].isupper() and word.lower() in _WORDS - _ALSO_NAMES


def safe_words(text: str, known: Iterable[str] = ()) -> str:
    """The text with "..." for each word that is not known to be harmless. Empty when nothing is left that says
    anything."""
    names = set(known)
    said: list[str] = []
    kept = 0
    begins = True
    for found in re.finditer(r"[^\s\"'`<>()\[\]{}=,;:.!?|]+|[.!?:]+(?=\s|$)", text[:2000]):
        word = found[0]
        if re.fullmatch(r"[.!?:]+", word):
            if said and said[-1][-1:] not in ".!?:":
                said[-1] += "." if word[0] != ":" else ":"
            begins = True
            continue
        if word in names or word in _WORDS or (begins and _is_word(word)):
            said.append(word)
            kept += 1
        elif not said or not said[-1].endswith("..."):
            said.append("...")
        begins = False
        if sum(map(len, said)) + len(said) > LONGEST:
            said.append("...")
            break
    # Two words that stand alone among what was cut out tell nothing.
    return re.sub(r"\.{4,}", "...", " ".join(said)).strip(" .:") if kept > 1 else ""
