"""Programs that are started by name: long proofs, measurements, a picture."""
