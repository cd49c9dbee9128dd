"""Passes for programs in any ops."""
