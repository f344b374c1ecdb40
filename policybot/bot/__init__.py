"""The chat side: commands, protected rooms, policy lists and reports."""
