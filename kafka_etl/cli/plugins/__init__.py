"""`kafka-etl plugins`: the installed plug-ins, and the settings of each."""
