"""The suite's version: one place, whether it runs from a checkout, an image or an installed package."""

from typing import Final

VERSION: Final = "0.1.0"
