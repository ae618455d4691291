"""Figures that anybody can measure again: each beside its baseline, in one run, so that a machine's noise cancels."""
