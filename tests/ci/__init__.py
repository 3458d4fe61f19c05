"""Delivery: what reviewers read, what is applied and what is refused, who gets in."""
