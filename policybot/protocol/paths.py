"""The paths that belong to the policy server, for routes, proxies and probes alike, and the header
by which it knows its own answers."""

INSTANCE_HEADER = "Policybot-Instance"
"""Carries the random ID of this installation, by which `enable` knows its own endpoint."""

POLICY = "/_matrix/policy/"
"""What begins so, others ask for when they have events signed."""

SIGN = "/_matrix/policy/v1/sign"
UNSTABLE_SIGN = "/_matrix/policy/unstable/org.matrix.msc4284/sign"
WELL_KNOWN = "/.well-known/matrix/policy_server"
UNSTABLE_WELL_KNOWN = "/.well-known/matrix/org.matrix.msc4284.policy_server"
HEALTH = "/_policybot/health"

# With a name of its own only.
SERVER_KEYS = "/_matrix/key/v2/server"
FEDERATION_VERSION = "/_matrix/federation/v1/version"
SERVER_WELL_KNOWN = "/.well-known/matrix/server"
SUPPORT_WELL_KNOWN = "/.well-known/matrix/support"

POLICY_WELL_KNOWNS = (WELL_KNOWN, UNSTABLE_WELL_KNOWN)
"""Where people and tools find the key with which the policy server signs."""

POLICY_PATHS = (POLICY, *POLICY_WELL_KNOWNS)
"""The path prefixes that a reverse proxy sends to policybot; all others are the homeserver's. With
a name of its own, everything is policybot's."""
