"""Servers, proxies, applications and witnesses that several test files use."""
