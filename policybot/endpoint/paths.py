"""The paths that belong to the policy server, for routes, proxies and probes alike."""

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

POLICY_PATHS = ("/_matrix/policy/", WELL_KNOWN, UNSTABLE_WELL_KNOWN)
"""The path prefixes that a reverse proxy sends to policybot; all others are the homeserver's. With
a name of its own, everything is policybot's."""
