"""What upload and status share: who calls, how a file is named, how an answer looks."""
