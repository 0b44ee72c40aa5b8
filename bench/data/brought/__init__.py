"""Data of the user's own: an ImageFolder, a table, fields. `bench data add` checks them and makes an entry.

They stay where they are. An entry, below the folder of data sets, holds what was found, how it is split, a
digest and the licence; what reads each kind is the module of its name. A track opens them in its module
``sources/brought.py`` (`bench.registry.Registry.track_of` says how that is found).
"""
