"""Policies: Rego compiled to WASM, evaluated with fuel in a sandbox, each verdict with a digest."""
