"""Labels from a person: the queries as a table and as a web page, and the answers."""
