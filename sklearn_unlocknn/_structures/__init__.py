"""Structures of any kind, read and described by pymatgen."""
