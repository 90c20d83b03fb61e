"""A model checker for the domain: the real code of several callers, in every order that makes a difference.

``scheduler`` walks the orders, ``ports`` stop a caller before each call of the table and the store, ``worlds`` say how things
stand at the start, ``actors`` what is done at once, ``invariants`` what must hold after it, ``scenarios`` which of these are
put together, ``mutants`` which wrong programs must be found out. ``run`` is ``make prove``.
"""
