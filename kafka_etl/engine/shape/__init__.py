"""The last stage of a pipeline whose sink is a table: values to rows of checked types."""
