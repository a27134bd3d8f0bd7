"""The codec `avro`."""
