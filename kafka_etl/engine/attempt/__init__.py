"""One attempt at records: decode, operators, encode, and who is to blame."""
