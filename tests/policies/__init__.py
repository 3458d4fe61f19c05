"""The gates themselves: each can fail, and each exception has a reason that still holds."""
