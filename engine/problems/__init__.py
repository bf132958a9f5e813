"""Where problems come from and in which forms a record may come."""
