"""The codec `json`."""
