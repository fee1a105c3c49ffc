"""Pushes from outside: the providers' signatures and payloads, and the receiving end. It arrives with releases."""
