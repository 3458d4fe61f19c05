"""The frame: door, routing by Google's documents, identity and policies, clock, faults, journal."""
