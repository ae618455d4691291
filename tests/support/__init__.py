"""Support of the tests: servers, samples and doubles that no test module owns."""
