"""The messages on ivrd's local sockets: pure, bytes in, values out."""
