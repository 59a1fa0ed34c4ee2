"""The version, in a file that everything may import."""

VERSION = "0.1.0"
