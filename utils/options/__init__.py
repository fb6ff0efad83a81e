"""Options: declared beside the part that reads them, read from the command line, checked."""
