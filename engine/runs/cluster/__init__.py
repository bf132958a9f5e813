"""A run on several devices: who hands out the work, who does it, and Ray between them."""
