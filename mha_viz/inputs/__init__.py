"""Where query, key and value come from: text, made-up patterns, tables and files."""
