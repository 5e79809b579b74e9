"""The custody chain (监管链): verifies and keeps what happens on every regional business chain, and answers regulators."""
