"""The commands of the command line, one file per question. Each imports what it needs when it runs."""
