"""The live page: what the business and the operators look at, in a browser."""
