"""The heart of Madang: domain, store, service, operations and the HTTP front."""
