"""Tests of pipelines.loading.checking that start nothing."""
