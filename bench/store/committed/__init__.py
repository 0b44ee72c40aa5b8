"""Our records as files in ``results/<profile>/``, committed with the code: written, read, and
below a store.
"""
