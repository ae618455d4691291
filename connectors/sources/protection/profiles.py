"""Profiles that are shipped: `safe_harbor` and `limited_data_set`. Pure.

Sources: 45 CFR 164.514(b)(2)(i), the eighteen classes (A) to (R) of the Safe Harbor, and 164.514(e)(2), the direct
identifiers that a limited data set must not have. For FHIR and HL7 a profile says what is kept, and all else stays
away; tables of databases, files and APIs have no names that everybody gives alike, so there it goes by the words of
names and by what values look like. That is less than a person who knows the data would do, and docs/protection.md says
so.
"""

from collections.abc import Mapping

from connectors.sources.protection import fhir, hl7
from connectors.sources.protection.methods import Method
from connectors.sources.protection.rules import Kind, Profile, Rule

_NAMES = (
    "name", "names", "firstname", "lastname", "fullname", "surname", "maiden", "forename", "initials", "nickname",
    "alias", "next_of_kin", "nok", "guarantor", "employer", "spouse", "mother", "father", "relative", "guardian",
    "emergency_contact", "contact", "vorname", "nachname", "patientname",
    "invnam", "patname", "patnam", "ptname", "subjname", "subjnam", "subjinit", "patinit", "ptinit", "givenname",
    "middlename", "familyname", "lname", "fname", "mname",
)  # fmt: skip
_STREETS = (
    "address", "addr", "street", "road", "house_number", "apartment", "geocode", "latitude", "longitude", "lat", "lon",
    "lng", "coordinates", "gps", "strasse", "adresse", "streetaddress", "streetaddr", "homeaddress", "homeaddr",
    "mailingaddress", "addressline",
)  # fmt: skip
_TOWNS = ("city", "town", "county", "district", "precinct", "municipality", "village", "parish", "ort", "stadt")
_ZIPS = ("zip", "zip_code", "zipcode", "postal_code", "postcode", "postal", "plz")
_BORN = (
    "birth_date",
    "birthdate",
    "date_of_birth",
    "dateofbirth",
    "dob",
    "birthday",
    "geburtsdatum",
    "brthdtc",
    "brthdat",
    "brthyr",
)
_DATED = (
    "date", "dates", "datetime", "timestamp", "datum", "admitted_at", "discharged_at", "updated_at", "created_at",
    "modified_at", "recorded_at", "visited_at", "performed_at",
)  # fmt: skip
_CALLED = (
    "phone", "telephone", "tel", "mobile", "fax", "email", "e_mail", "mail", "telefon", "pager", "phonenumber",
    "phoneno", "homephone", "workphone", "cellphone", "mobilephone", "telno", "faxno", "faxnumber", "emailaddress",
    "emailaddr",
)  # fmt: skip
_NUMBERS = (
    "ssn", "social_security", "mrn", "medical_record", "patient_number", "nhs", "nino", "insurance", "policy",
    "member", "beneficiary", "subscriber", "health_plan", "account", "acct", "iban", "certificate", "license",
    "licence", "passport", "driver", "national_id", "tax_id", "medicare", "medicaid", "krankenversicherungsnummer",
    "patientid", "patientnumber", "patientno", "patid", "ptid", "subjectid", "personid", "medrecno", "accountnumber",
    "accountno", "acctno", "memberid", "policynumber", "policyno", "licensenumber", "licenseno", "nhsnumber",
    "usubjid", "subjid", "subject_key", "user_oid", "location_oid", "siteid", "invid",
)  # fmt: skip
_THINGS = (
    "vehicle", "vin", "plate", "license_plate", "device", "serial", "udi", "imei", "url", "website", "web", "ip",
    "ip_address", "mac_address", "fingerprint", "voice", "voiceprint", "biometric", "retina", "iris", "dna", "photo",
    "photograph", "image", "file", "filename", "picture", "face", "portrait", "signature",
)  # fmt: skip
_WORDS_OF_PEOPLE = (
    "note", "notes", "comment", "comments", "remark", "remarks", "narrative", "free_text", "freetext", "description",
    "text", "message", "letter", "attachment", "document", "blob", "content", "summary", "memo",
    "reason",
)  # fmt: skip
_OTHER_IDS = ("id", "ids", "identifier", "identifiers", "uuid", "guid", "key", "reference")
_AGES = ("age", "ages")


_REDCAP = tuple(
    Rule(path=name, method=Method.AS_IS)
    for name in ("redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance")
)
"""Parts of the key of REDCap's records, which name parts of the study."""


def _by_what_they_are(*kinds: Kind) -> tuple[Rule, ...]:
    return tuple(Rule(values=kind, method=Method.REDACT) for kind in kinds)


SAFE_HARBOR = Profile(
    rules=(
        *_REDCAP,
        Rule(names=_BORN, method=Method.BIRTH_YEAR),
        Rule(names=_ZIPS, method=Method.ZIP3),
        Rule(names=_NUMBERS, method=Method.HASH),
        Rule(names=(*_CALLED, *_THINGS, *_STREETS, *_TOWNS), method=Method.DROP),
        Rule(names=(*_NAMES, *_WORDS_OF_PEOPLE), method=Method.DROP),
        Rule(names=_AGES, method=Method.AGE_CAP),
        Rule(names=_OTHER_IDS, method=Method.HASH),
        Rule(names=_DATED, method=Method.YEAR),
        Rule(values=Kind.DATES, method=Method.YEAR),
        *_by_what_they_are(Kind.EMAILS, Kind.SSNS, Kind.PHONE_NUMBERS, Kind.URLS, Kind.IP_ADDRESSES),
    ),
    fhir=fhir.treatment(dates=Method.YEAR, born=Method.BIRTH_YEAR, places=False, postal=Method.ZIP3, ids=Method.HASH),
    hl7=hl7.treatment(dates=Method.YEAR, born=Method.BIRTH_YEAR, places=False, postal=Method.ZIP3, ids=Method.HASH),
)
"""What is left of rows when the eighteen classes are taken out, as far as names and values tell them."""

LIMITED_DATA_SET = Profile(
    rules=(
        *_REDCAP,
        Rule(names=_NUMBERS, method=Method.HASH),
        Rule(names=(*_CALLED, *_THINGS, *_STREETS), method=Method.DROP),
        Rule(names=(*_NAMES, *_WORDS_OF_PEOPLE), method=Method.DROP),
        *_by_what_they_are(Kind.EMAILS, Kind.SSNS, Kind.PHONE_NUMBERS, Kind.URLS, Kind.IP_ADDRESSES),
    ),
    fhir=fhir.treatment(dates=None, born=None, places=True, postal=None, ids=Method.HASH),
    hl7=hl7.treatment(dates=None, born=None, places=True, postal=None, ids=Method.HASH),
)
"""The direct identifiers taken out; dates, towns, ZIP codes and other unique codes stay, so the recipient needs a data
use agreement."""

SHIPPED: Mapping[str, Profile] = {"safe_harbor": SAFE_HARBOR, "limited_data_set": LIMITED_DATA_SET}
"""The profiles that every installation has, by name."""
