"""The base classes that extensions use, and the registry that finds their actors."""
