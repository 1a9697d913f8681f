"""Internal. ``kontinue doctor``: looks at server, rights, kinds and objects, says what is wrong and what to do.

``observing`` asks the server, ``checks`` and its neighbours judge what was seen without I/O, ``command`` prints it.
"""
