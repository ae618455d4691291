"""Views of FHIR resources: ViewDefinitions of HL7's SQL on FHIR, a table each. Pure."""
