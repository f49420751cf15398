"""What runs in the sandbox's own processes. The caller reads only `wire` and `linux`."""
