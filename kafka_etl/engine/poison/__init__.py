"""Records that may not be run like others: killers of workers, refused records, run-aways."""
