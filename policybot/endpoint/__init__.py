"""The policy server over HTTP."""
