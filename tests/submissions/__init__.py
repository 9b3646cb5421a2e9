"""A package, because its conftest is not the only one."""
