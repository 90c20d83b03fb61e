"""The OCI distribution API: requests to domain calls, domain errors to its JSON."""
