"""The portal's front door: a file's name and a place to put it, or why not."""
