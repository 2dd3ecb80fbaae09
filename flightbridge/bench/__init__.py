"""Measurements of FlightBridge beside its peers and its ceilings, in pairs, on this machine.

``flightbridge bench`` runs them; docs/benchmarks.md says what each number means.
"""
