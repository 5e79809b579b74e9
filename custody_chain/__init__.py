"""The custody chain (监管链): verifies and keeps what happens on the regional business chains; answers regulators."""
