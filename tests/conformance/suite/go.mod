module slipway.test/conformance

go 1.24.0

require github.com/opencontainers/distribution-spec/conformance v0.0.0-20260730175803-fee21197eb94
