"""What a run is on disk: variables, columns, bytes, checksums."""
