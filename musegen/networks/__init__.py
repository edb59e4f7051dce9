"""Networks that belong to no domain."""
