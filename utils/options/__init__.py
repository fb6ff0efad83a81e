"""Options: declared beside the code that reads them, read from the command line, checked."""
