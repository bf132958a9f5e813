"""What several samples of a problem say together."""
