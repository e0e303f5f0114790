"""What is tried for real takes root, Debian's packages and minutes: `make delivery-check`, not `make test`."""
