"""A local cloud: enough of Google Cloud's own resource model, on loopback, to apply and prove this
repository without an account. See README.md for what it does and where it differs."""
