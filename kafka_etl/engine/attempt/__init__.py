"""One attempt at records: decode, operators, encode, and which record is to blame."""
