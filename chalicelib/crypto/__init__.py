"""CRYPTOGRAPHY: what the domain declares as protocols and cannot do with the standard library.

``PasswordHasher`` (passwords.py), ``TokenSigner``, ``TokenVerifier`` and ``PublicKeys`` (keyring.py), on the ports of
``registry``. Arrows: ``wiring -> crypto -> registry``; the domain never looks in here.
"""
