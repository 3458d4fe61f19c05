"""What is measured. Each module runs in a process of its own, in the environment it belongs to.

make(**arguments) prepares and returns the step to be measured, a function without arguments.
"""
