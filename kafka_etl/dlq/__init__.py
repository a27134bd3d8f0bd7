"""Dead letters as a tool: find, understand, fix, put back."""
