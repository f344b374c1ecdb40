"""Deciding: rules, policy lists, protected rooms and the verdict about one event. Pure."""
