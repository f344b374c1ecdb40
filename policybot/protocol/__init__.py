"""Formats of the Matrix server-server API. Pure: bytes and values in, values or errors out."""
