"""Checkpoints: the filters of a subtree, with their files' owners and modes, as a document, and back.

`document` is the format, `save` writes what is there into one, `restore` makes it so again, all or nothing. They see
the control files only: reading them is the checkpoint and writing the same bytes back the restore.
"""
