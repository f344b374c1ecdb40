"""The demonstration: the whole story played on two real homeservers on loopback."""
