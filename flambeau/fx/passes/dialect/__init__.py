"""Passes for programs in certain ops."""
