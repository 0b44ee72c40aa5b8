"""What two tracks share."""
