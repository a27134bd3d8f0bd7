"""The codec `protobuf`."""
