"""What the proofs of permissions share: calls in anybody's name, and bindings that come and go."""
