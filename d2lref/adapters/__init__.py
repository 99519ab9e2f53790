"""Translations of other frameworks into the calling convention.

Each file imports its framework, and is loaded when it is named.
"""
