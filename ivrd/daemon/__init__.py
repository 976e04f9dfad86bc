"""The daemon: admits calls, routes them to warm workers, decides what a death means. trio, one nursery per lifetime."""
