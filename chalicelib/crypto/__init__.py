"""CRYPTOGRAPHY: the only room that imports ``cryptography``. It implements what ``registry`` declares as protocols
(``PasswordHasher``, ``TokenSigner``, ``TokenVerifier``, ``PublicKeys``) on the ports; ``wiring`` brings them together."""
