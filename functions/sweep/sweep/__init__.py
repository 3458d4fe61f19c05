"""Uploads against records: what has neither a manifest nor a failure record gets its task back.

The operator's tool works by the same modules.
"""
