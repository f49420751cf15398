"""What runs in the sandbox's own processes, after a fresh interpreter's start. The caller reads only `wire` and `linux`."""
