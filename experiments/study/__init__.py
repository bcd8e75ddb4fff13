"""How any study is run: its cells, its command line, its processes."""
