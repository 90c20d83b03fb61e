"""The packaged program, deployed by CloudFormation into an emulated AWS and used from outside: `make test-cloud`."""
