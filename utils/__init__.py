"""Mathematics, files and option machinery without a subject of their own.

The lowest layer: imports nothing else of this project.
"""
