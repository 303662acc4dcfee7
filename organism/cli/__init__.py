"""To be laid."""
