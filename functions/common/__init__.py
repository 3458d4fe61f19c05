"""What the bridge, the processor and the operator's tools have in common; standard library only."""
