"""Sockets, TLS and time: what the gates stand on. Clock, network and randomness are injected."""
