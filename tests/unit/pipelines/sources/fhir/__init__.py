"""Tests of FHIR."""
