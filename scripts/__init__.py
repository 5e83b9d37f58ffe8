"""Tools of this repository's developers. Not part of the package."""
