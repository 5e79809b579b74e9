"""What nodes say to each other: payloads of frames, byte for byte."""
