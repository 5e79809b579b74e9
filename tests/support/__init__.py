"""What several areas of tests share."""
