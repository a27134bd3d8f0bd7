"""From a YAML file to a built pipeline."""
