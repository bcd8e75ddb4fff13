"""How a result becomes a page: committed files, tables, reports."""
