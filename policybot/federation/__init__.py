"""Talking to other servers: finding them and knowing their keys."""
